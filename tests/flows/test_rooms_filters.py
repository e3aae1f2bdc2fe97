"""Spec: client-server-api/#filtering"""

import pytest

from tests.support.client import quoted, refused

EXAMPLE = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {"limit": 1, "types": ["m.room.message"], "not_senders": ["@spam:example.com"]},
        "ephemeral": {"types": ["m.receipt", "m.typing"]},
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
    "org.example.unknown": {"kept": True},
}


async def uploads(client, definition):
    path = f"user/{quoted(client.user_id)}/filter"
    return (await client.post(path, definition))["filter_id"]


async def downloads(client, filter_id):
    return await client.get(f"user/{quoted(client.user_id, 'filter', filter_id)}")


async def test_a_filter_comes_back_as_it_was_uploaded(alice):
    filter_id = await uploads(alice, EXAMPLE)
    assert not filter_id.startswith("{")
    assert await downloads(alice, filter_id) == EXAMPLE


async def test_equal_filters_have_one_id_and_different_ones_have_two(alice):
    first = await uploads(alice, {"room": {"timeline": {"limit": 1}}, "presence": {}})
    assert await uploads(alice, {"presence": {}, "room": {"timeline": {"limit": 1}}}) == first
    assert await uploads(alice, {"presence": {}, "room": {"timeline": {"limit": 2}}}) != first


async def test_users_have_filters_of_their_own(alice, bob):
    filter_id = await uploads(alice, EXAMPLE)
    with refused(404, "M_NOT_FOUND"):
        await downloads(bob, filter_id)
    with refused(403, "M_FORBIDDEN"):
        await bob.get(f"user/{quoted(alice.user_id)}/filter/{filter_id}")
    with refused(403, "M_FORBIDDEN"):
        await bob.post(f"user/{quoted(alice.user_id)}/filter", {})
    with refused(404, "M_NOT_FOUND"):
        await downloads(alice, "0")


@pytest.mark.parametrize(
    "definition",
    [
        {"room": 1},
        {"room": {"timeline": {"limit": "ten"}}},
        {"room": {"timeline": {"limit": -1}}},
        {"room": {"timeline": {"types": "m.room.message"}}},
        {"room": {"timeline": {"senders": ["nobody"]}}},
        {"room": {"rooms": [1]}},
        {"event_format": "other"},
        {"event_fields": "type"},
    ],
)
async def test_a_malformed_filter_is_refused(alice, definition):
    with refused(400, "M_BAD_JSON"):
        await uploads(alice, definition)


async def test_sync_takes_a_filter_by_its_id_or_inline(alice):
    room = await alice.creates_room()
    await alice.sends(room, "one")
    await alice.sends(room, "two")
    wanted = {"room": {"timeline": {"limit": 1}}}
    filter_id = await uploads(alice, wanted)
    for chosen in (filter_id, wanted):
        timeline = (await alice.syncs(filter=chosen))["rooms"]["join"][room]["timeline"]
        assert [event["content"]["body"] for event in timeline["events"]] == ["two"]
    with refused(400, "M_INVALID_PARAM"):
        await alice.syncs(filter="unknown")
    with refused(400, "M_BAD_JSON"):
        await alice.syncs(filter="{")
