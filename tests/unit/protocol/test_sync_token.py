import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.sync_token import (
    MAX_DIGEST,
    MAX_POSITION,
    MAX_TYPING,
    SyncToken,
    TypingTold,
    parse_sync_token,
)

positions = st.integers(0, MAX_POSITION)
typing_told = st.builds(TypingTold, st.integers(1, MAX_POSITION), st.integers(0, MAX_DIGEST))


@st.composite
def tokens_of(draw):
    position = draw(positions)
    behind = st.integers(0, position - 1) if position else st.nothing()
    typing = tuple(draw(st.lists(typing_told, max_size=MAX_TYPING)))
    return SyncToken(position, typing, draw(st.none() | behind))


tokens = tokens_of()


@given(tokens)
def test_a_token_survives_the_way_to_the_client_and_back(token):
    assert parse_sync_token(str(token)) == token


@given(tokens)
def test_a_token_needs_no_escape_in_a_url_and_is_short_enough_for_one(token):
    text = str(token)
    assert set(text) <= set("s0123456789abcdef_.")
    assert len(text) <= 800


def test_a_token_begins_with_the_letter_of_its_version():
    assert str(SyncToken(42)) == "s42"
    assert str(SyncToken(42, (TypingTold(31, 0xABC), TypingTold(1, 0)))) == (
        "s42_1f.00000abc_1.00000000"
    )


def test_a_token_says_where_the_messages_to_the_device_are_behind():
    assert str(SyncToken(42, (TypingTold(1, 0),), 40)) == "s42d40_1.00000000"
    assert parse_sync_token("s42d40") == SyncToken(42, (), 40)
    assert parse_sync_token("s42d0") == SyncToken(42, (), 0)


def test_tokens_from_before_typing_are_understood():
    assert parse_sync_token("s42") == SyncToken(42, ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "42",
        "s-1",
        "s01",
        "s+1",
        "s 1",
        "s1 ",
        "s1\n",
        "s1_2",
        "s1d",
        "s1d1",
        "s1d2",
        "s12d01",
        "s12d-1",
        "s12d1d2",
        "s12_1f.00000abcd1",
        "S1",
        "t1_2",
        "s1.0",
        "s٣",
        "s" + str(2**63),
        "s" + "9" * 10_000,
        "s1_",
        "s1_1",
        "s1_1.",
        "s1_1.1234567",
        "s1_1.123456789",
        "s1_1.1234567G",
        "s1_1.ABCDEF01",
        "s1_0.12345678",
        "s1_01.12345678",
        "s1_1.12345678_",
        "s1_1.12345678\n",
        "s1__1.12345678",
        "s1_8000000000000000.12345678",
        "s1_12345678901234567.12345678",
        "s1" + "_1.12345678" * (MAX_TYPING + 1),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidToken):
        parse_sync_token(text)


def test_tokens_are_ordered_by_position():
    assert SyncToken(9) < SyncToken(10)
    assert SyncToken(9, (TypingTold(1, 1),)) < SyncToken(10)
