import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.pagination_token import (
    MIN_SUB,
    PaginationToken,
    parse_pagination_token,
    parse_room_token,
)
from homeserver.protocol.sync_token import MAX_POSITION, SyncToken


@given(st.integers(0, MAX_POSITION), st.integers(MIN_SUB, 0))
def test_a_token_survives_the_way_to_the_client_and_back(pos, sub):
    token = PaginationToken(pos, sub)
    assert parse_pagination_token(str(token)) == token
    assert parse_room_token(str(token)) == token


def test_backfilled_events_have_a_negative_sub():
    assert str(PaginationToken(3, -17)) == "t3_-17"


@given(st.integers(0, 50), st.integers(-50, 0), st.integers(0, 50), st.integers(-50, 0))
def test_a_token_parts_the_events_of_a_room(pos, sub, other_pos, other_sub):
    event, other = (pos, sub), (other_pos, other_sub)

    def lies_before(place, token):
        return place <= (token.pos, token.sub)

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
        "t1_1",
        "t1_0_0",
        "t1_0 ",
        "t1_0\n",
        "t١_0",
        "x1_0",
        f"t{2**63}_0",
        f"t1_{MIN_SUB - 1}",
        "t1_-" + "9" * 10_000,
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


def test_backfilled_events_stand_before_the_live_event_of_the_same_position():
    assert sorted([PaginationToken(2, -9), PaginationToken(1, 0), PaginationToken(1, -5)]) == [
        PaginationToken(1, -5),
        PaginationToken(1, 0),
        PaginationToken(2, -9),
    ]
