from homeserver.protocol.identifiers import UserID
from homeserver.services.token_cache import CachedToken, TokenCache
from homeserver.web.requester import Requester


def token(user: str) -> CachedToken:
    return CachedToken(Requester(user_id=UserID(user)), None)


def put(cache: TokenCache, token_hash: bytes, user: str) -> None:
    cache.put(token_hash, token(user), generation=cache.generation)


def test_a_token_is_found_again() -> None:
    cache = TokenCache()
    put(cache, b"1", "@alice:x")
    assert cache.get(b"1") == token("@alice:x")
    assert cache.get(b"2") is None


def test_forgetting_a_user_forgets_all_tokens_of_that_user_only() -> None:
    cache = TokenCache()
    put(cache, b"1", "@alice:x")
    put(cache, b"2", "@alice:x")
    put(cache, b"3", "@bob:x")
    cache.forget_user("@alice:x")
    assert [cache.get(each) for each in (b"1", b"2", b"3")] == [None, None, token("@bob:x")]


def test_a_gap_in_the_log_forgets_everybody() -> None:
    cache = TokenCache()
    put(cache, b"1", "@alice:x")
    cache.forget_all()
    assert cache.get(b"1") is None


def test_what_was_read_before_something_was_forgotten_is_not_kept() -> None:
    cache = TokenCache()
    generation = cache.generation
    cache.forget_user("@alice:x")
    cache.put(b"1", token("@alice:x"), generation=generation)
    assert cache.get(b"1") is None


def test_the_token_used_longest_ago_makes_room() -> None:
    cache = TokenCache(max_tokens=2)
    put(cache, b"1", "@alice:x")
    put(cache, b"2", "@bob:x")
    cache.get(b"1")
    put(cache, b"3", "@carol:x")
    assert cache.get(b"2") is None
    assert cache.get(b"1") is not None
    # Nothing is left that would trip over the token that is gone.
    cache.forget_user("@bob:x")
