"""Spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event"""

import pytest

from tests.support.client import quoted, refused

STABLE = "/_matrix/client/v1"
UNSTABLE = "/_matrix/client/unstable/org.matrix.msc3030"


async def closest(client, room, ts, direction, *, prefix=STABLE):
    path = f"{prefix}/rooms/{quoted(room)}/timestamp_to_event"
    return await client.get(path, ts=ts, dir=direction)


@pytest.fixture
async def room(alice, server):
    """A room with messages at 1000, 2000, 2000, 3000 ms after the room's creation at 0."""
    room_id = await alice.creates_room(preset="public_chat")
    sent = [await alice.sends(room_id, str(number)) for number in range(4)]
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE events SET origin_server_ts = 0")
        await connection.execute(
            """
            UPDATE events e SET origin_server_ts = t.ts
            FROM unnest($1::text[], $2::bigint[]) AS t(event_id, ts) WHERE e.event_id = t.event_id
            """,
            sent,
            [1000, 2000, 2000, 3000],
        )
    return room_id, sent


@pytest.mark.parametrize(
    ("ts", "direction", "found"),
    [
        (1000, "f", 0),
        (1000, "b", 0),
        (1001, "f", 1),
        (2000, "f", 1),
        (2000, "b", 2),
        (2999, "b", 2),
        (2001, "f", 3),
        (10**30, "b", 3),
    ],
)
async def test_the_closest_event_in_a_direction_is_found(alice, room, ts, direction, found):
    room_id, sent = room
    answer = await closest(alice, room_id, ts, direction)
    expected = [1000, 2000, 2000, 3000][found]
    assert answer == {"event_id": sent[found], "origin_server_ts": expected}
    assert await closest(alice, room_id, ts, direction, prefix=UNSTABLE) == answer


@pytest.mark.parametrize(("ts", "direction"), [(3001, "f"), (-1, "b"), (10**30, "f")])
async def test_there_may_be_no_event_in_a_direction(alice, room, ts, direction):
    with refused(404, "M_NOT_FOUND"):
        await closest(alice, room[0], ts, direction)


async def test_events_that_the_reader_may_not_see_are_passed_over(alice, bob, server):
    room = await alice.creates_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        ],
    )
    hidden = [await alice.sends(room, f"before {number}") for number in range(30)]
    start = (await alice.reads_event(room, hidden[0]))["origin_server_ts"] + 1
    await bob.joins(room)
    first = (await alice.reads_messages(room, "b", limit=1))["chunk"][0]["event_id"]
    await bob.leaves(room)
    await alice.sends(room, "after")
    assert (await closest(bob, room, start, "f"))["event_id"] == first
    last = (await closest(bob, room, 2**53, "b"))["event_id"]
    assert (await bob.reads_event(room, last))["content"]["membership"] == "leave"


async def test_strangers_find_nothing(room, bob):
    with refused(403, "M_FORBIDDEN"):
        await closest(bob, room[0], 0, "f")


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({"ts": 0}, "M_MISSING_PARAM"),
        ({"dir": "f"}, "M_MISSING_PARAM"),
        ({"ts": 0, "dir": "x"}, "M_INVALID_PARAM"),
        ({"ts": "now", "dir": "f"}, "M_INVALID_PARAM"),
    ],
)
async def test_bad_queries_are_refused(alice, room, query, errcode):
    with refused(400, errcode):
        await alice.get(f"{STABLE}/rooms/{quoted(room[0])}/timestamp_to_event", **query)
