"""Which words users are found by."""

import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.services.user_directory_words import (
    MAX_WORDS,
    words_of_name,
    words_of_user_id,
    words_to_search,
)


def finds(term: str, name: str) -> bool:
    words = words_of_name(name)
    return all(any(word.startswith(each) for word in words) for each in words_to_search(term))


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("ali", "Alice"),
        ("ALICE", "alice"),
        ("lidd al", "Alice Liddell"),
        ("zoe", "Zoë"),
        ("Zoë", "zoe"),
        ("strasse", "Straße"),
        ("σας", "ΣΑΣ"),
        ("istanbul", "İstanbul"),
        ("full", "ｆｕｌｌ ｗｉｄｔｈ"),
        ("o'br", "O'Brien"),
        ("b", "(b)"),
        ("42", "Agent 42"),
        ("山", "高山太郎"),
        ("太郎", "高山太郎"),
        ("たろ", "やまだたろう"),
        ("ソン", "Mr. ジョンソン"),
        ("김", "김철수"),
        ("สม", "คุณสมชาย"),
        ("ива", "Иван Петров"),
        ("محمد", "مُحَمَّد علي"),
        ("🎉", "Party 🎉"),
        ("a", "a\0b"),
    ],
)
def test_names_are_found_by_how_their_words_begin(term: str, name: str) -> None:
    assert finds(term, name)


@pytest.mark.parametrize(
    ("term", "name"),
    [("lice", "Alice"), ("alice b", "Alice"), ("철", "김철수"), ("太山", "高山太郎")],
)
def test_other_names_are_not(term: str, name: str) -> None:
    assert not finds(term, name)


def test_a_user_id_is_found_by_its_localpart_its_parts_and_whole() -> None:
    words = words_of_user_id(UserID("@_irc_Some.body:hs.example"))
    for word in ("irc", "some", "body", "_irc_some.body", "@_irc_some.body:hs.example"):
        assert word in words


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("@Alice", ["@alice"]),
        (" @alice:hs.ex ", ["@alice:hs.ex"]),
        ("alice:hs", ["@alice:hs"]),
        ("Alice  alice Bob", ["alice", "bob"]),
        ("_-", ["_-"]),
        ("", []),
        (" \t", []),
        ("\0", []),
    ],
)
def test_terms_become_words(term: str, words: list[str]) -> None:
    assert words_to_search(term) == words


def test_long_names_have_a_bounded_number_of_words() -> None:
    assert len(words_of_name("高" + "山太" * 100_000)) <= MAX_WORDS
    assert len(words_of_name(" ".join(map(str, range(10_000))))) <= MAX_WORDS
    assert finds("x" * 5_000, "x" * 5_000)
