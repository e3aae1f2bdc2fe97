"""OpenID tokens. Spec: client-server-api/#openid"""

import pytest

from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.services.openid_tokens import LIFETIME_SECONDS, OpenIDTokens
from tests.support.client import answer_of, refused
from tests.support.clock import FakeClock
from tests.support.server import SERVER_NAME


def tokens_of(server, clock=None):
    base = server.base
    return OpenIDTokens(base.database, ServerName(SERVER_NAME), clock or base.clock)


async def test_a_token_says_who_its_owner_is_and_nothing_else(alice, server):
    answer = await alice.post(f"user/{alice.user_id}/openid/request_token")
    assert answer["token_type"] == "Bearer"
    assert answer["matrix_server_name"] == SERVER_NAME
    assert answer["expires_in"] == LIFETIME_SECONDS
    assert await tokens_of(server).owner(answer["access_token"]) == alice.user_id
    # "It cannot be used to request another OpenID access token or call `/sync`".
    alice.access_token = answer["access_token"]
    with refused(401, "M_UNKNOWN_TOKEN"):
        await alice.syncs()


async def test_tokens_expire(alice, server):
    token = (await alice.post(f"user/{alice.user_id}/openid/request_token"))["access_token"]
    clock = FakeClock(server.base.clock.now_ms() + LIFETIME_SECONDS * 1000 - 10_000)
    assert await tokens_of(server, clock).owner(token) == alice.user_id
    clock = FakeClock(server.base.clock.now_ms() + LIFETIME_SECONDS * 1000 + 1)
    assert await tokens_of(server, clock).owner(token) is None


async def test_tokens_of_locked_and_ended_accounts_are_nobodys(alice, bob, server):
    token = (await alice.post(f"user/{alice.user_id}/openid/request_token"))["access_token"]
    await server.accounts.accounts.set_locked(UserID(alice.user_id), is_locked=True)
    assert await tokens_of(server).owner(token) is None
    token = (await bob.post(f"user/{bob.user_id}/openid/request_token"))["access_token"]
    auth = {"type": "m.login.password", "user": "bob", "password": "wordpass-1"}
    await bob.post("account/deactivate", {"auth": auth})
    assert await tokens_of(server).owner(token) is None


@pytest.mark.parametrize("token", ["", "unknown", "\udc80", "a\0b", "x" * 10_000])
async def test_any_text_may_be_shown_as_a_token(server, token):
    assert await tokens_of(server).owner(token) is None


async def test_bad_requests_are_refused(alice, bob, clients, guest):
    path = f"user/{alice.user_id}/openid/request_token"
    assert await answer_of(bob.post(path)) == (403, "M_FORBIDDEN")
    assert await answer_of(clients.nobody().post(path)) == (401, "M_MISSING_TOKEN")
    assert await answer_of(alice.post("user/alice/openid/request_token")) == (
        400,
        "M_INVALID_PARAM",
    )
    assert await answer_of(alice.request("POST", path, raw=b"{")) == (400, "M_NOT_JSON")
    assert await answer_of(alice.request("POST", path, raw=b"[]")) == (400, "M_BAD_JSON")
    assert await answer_of(guest.post(f"user/{guest.user_id}/openid/request_token")) == (
        403,
        "M_GUEST_ACCESS_FORBIDDEN",
    )
