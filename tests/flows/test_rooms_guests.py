"""Spec: client-server-api/#guest-access"""

import pytest

from tests.support.client import quoted, refused


@pytest.fixture
async def open_house(alice):
    """A public room of Alice that admits guests."""
    return await alice.creates_room(
        preset="public_chat",
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
    )


async def test_guests_join_and_talk_where_they_are_admitted(alice, guest, open_house):
    await guest.post(f"rooms/{quoted(open_house)}/join")
    event_id = await guest.sends(open_house, "hello")
    assert (await alice.reads_event(open_house, event_id))["sender"] == guest.user_id
    assert (await guest.reads_messages(open_house, limit=1))["chunk"][0]["event_id"] == event_id
    await guest.leaves(open_house)


async def test_guests_do_not_join_elsewhere_in_any_way(alice, guest):
    room = await alice.creates_room(preset="public_chat")
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await guest.joins(room)
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await guest.sets(room, "m.room.member", {"membership": "join"}, guest.user_id)
    assert guest.user_id not in await alice.reads_members(room)


async def test_guests_leave_when_the_room_closes_its_doors(alice, bob, guest, open_house):
    await bob.joins(open_house)
    await guest.joins(open_house)
    await alice.sets(open_house, "m.room.guest_access", {"guest_access": "forbidden"})
    members = await alice.reads_members(open_house)
    assert members == {alice.user_id: "join", bob.user_id: "join", guest.user_id: "leave"}


async def test_guests_leave_when_the_permission_is_redacted(alice, guest):
    room = await alice.creates_room(preset="public_chat")
    event_id = await alice.sets(room, "m.room.guest_access", {"guest_access": "can_join"})
    await guest.joins(room)
    other = await alice.sends(room, "unrelated")
    await alice.redacts(room, other)
    assert (await alice.reads_members(room))[guest.user_id] == "join"
    await alice.redacts(room, event_id)
    assert (await alice.reads_members(room))[guest.user_id] == "leave"


async def test_guests_may_not_do_what_is_for_users(alice, bob, guest, open_house):
    await guest.joins(open_house)
    event_id = await guest.sends(open_house, "hello")
    for attempt in (
        guest.creates_room(),
        guest.invites(open_house, bob),
        guest.kicks(open_house, alice),
        guest.bans(open_house, bob),
        guest.knocks(open_house),
        guest.redacts(open_house, event_id),
        guest.get(f"rooms/{quoted(open_house)}/joined_members"),
        guest.get(f"rooms/{quoted(open_house)}/aliases"),
        guest.post(f"user/{quoted(guest.user_id)}/filter", {}),
    ):
        with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
            await attempt


async def test_guests_preview_world_readable_rooms(alice, guest):
    room = await alice.creates_room(
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "content": {"history_visibility": "world_readable"},
            }
        ]
    )
    event_id = await alice.sends(room, "for all")
    assert (await guest.reads_event(room, event_id))["content"]["body"] == "for all"
    assert (await guest.reads_context(room, event_id))["event"]["event_id"] == event_id
    assert await guest.reads_members(room) == {alice.user_id: "join"}
    assert await guest.get(f"rooms/{quoted(room)}/state")
