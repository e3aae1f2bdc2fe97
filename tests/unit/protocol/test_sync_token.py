import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.sync_token import MAX_POSITION, SyncToken, parse_sync_token


@given(st.integers(0, MAX_POSITION))
def test_a_token_survives_the_way_to_the_client_and_back(position):
    assert parse_sync_token(str(SyncToken(position))) == SyncToken(position)


def test_a_token_begins_with_the_letter_of_its_version():
    assert str(SyncToken(42)) == "s42"


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
        "S1",
        "t1_2",
        "s1.0",
        "s٣",
        "s" + str(2**63),
        "s" + "9" * 10_000,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidToken):
        parse_sync_token(text)


def test_tokens_are_ordered_by_position():
    assert SyncToken(9) < SyncToken(10)
