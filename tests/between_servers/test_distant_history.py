"""Jumping to a date in a room of another server."""

from tests.between_servers.conftest import RunServers
from tests.between_servers.test_joining import people
from tests.support.client import quoted

STABLE = "/_matrix/client/v1"


async def test_a_date_before_the_join_is_jumped_to_and_read_around(
    running_servers: RunServers,
) -> None:
    async with running_servers(2) as two, people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        sent = [await alice.sends(room_id, f"message {number}") for number in range(250)]
        await bob.post(f"join/{room_id}", {}, via=two[0].name)
        ts = (await alice.reads_event(room_id, sent[20]))["origin_server_ts"]
        path = f"{STABLE}/rooms/{quoted(room_id)}/timestamp_to_event"
        for direction in "fb":
            found = await bob.get(path, ts=ts, dir=direction)
            assert found["origin_server_ts"] == ts
        # Several may have been sent in one millisecond.
        context = await bob.reads_context(room_id, found["event_id"], limit=20)
        number = sent.index(found["event_id"])
        assert [each["event_id"] for each in context["events_before"]] == list(
            reversed(sent[number - 10 : number])
        )
        assert [each["event_id"] for each in context["events_after"]] == (
            sent[number + 1 : number + 11]
        )
        page = await bob.reads_messages(room_id, "f", **{"from": context["end"], "limit": 30})
        assert [each["event_id"] for each in page["chunk"]] == sent[number + 11 : number + 41]
