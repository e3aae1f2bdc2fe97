import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.pagination_token import (
    MAX_DEPTH,
    PaginationToken,
    parse_pagination_token,
    parse_room_token,
)
from homeserver.protocol.sync_token import SyncToken


@given(st.integers(0, MAX_DEPTH), st.integers(-(2**63), 2**63 - 1))
def test_a_token_survives_the_way_to_the_client_and_back(depth, position):
    token = PaginationToken(depth, position)
    assert parse_pagination_token(str(token)) == token
    assert parse_room_token(str(token)) == token


def test_backfilled_positions_are_negative():
    assert str(PaginationToken(3, -17)) == "t3_-17"


@given(st.integers(0, 50), st.integers(-50, 50), st.integers(0, 50), st.integers(-50, 50))
def test_a_token_parts_the_events_of_a_room(depth, position, other_depth, other_position):
    event, other = (depth, position), (other_depth, other_position)

    def lies_before(place, token):
        return place <= (token.depth, token.position)

    assert lies_before(event, PaginationToken.after(*event))
    assert not lies_before(event, PaginationToken.before(*event))
    if other != event:
        assert lies_before(other, PaginationToken.after(*event)) == (other < event)
        assert lies_before(other, PaginationToken.before(*event)) == (other < event)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t",
        "t1",
        "t1_",
        "t_1",
        "t-1_1",
        "t01_1",
        "t1_01",
        "t1_-0",
        "t1_--1",
        "t1_1_1",
        "t1_1 ",
        "t1_1\n",
        "t١_1",
        "x1_1",
        f"t{2**63}_1",
        f"t1_{2**63}",
        f"t1_{-(2**63) - 1}",
        "t1_" + "9" * 10_000,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidToken):
        parse_pagination_token(text)
    with pytest.raises(InvalidToken):
        parse_room_token(text)


def test_a_sync_token_is_accepted_where_a_place_in_a_room_is_asked_for():
    assert parse_room_token("s5") == SyncToken(5)


def test_a_broken_sync_token_is_refused_there_too():
    with pytest.raises(InvalidToken):
        parse_room_token("s-5")


def test_tokens_are_ordered_by_depth_then_position():
    assert sorted([PaginationToken(2, -9), PaginationToken(1, 5), PaginationToken(1, -5)]) == [
        PaginationToken(1, -5),
        PaginationToken(1, 5),
        PaginationToken(2, -9),
    ]
