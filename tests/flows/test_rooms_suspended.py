"""Spec: client-server-api/#account-suspension"""

import pytest

from homeserver.protocol.identifiers import UserID
from tests.support.client import quoted, refused


@pytest.fixture
async def room(alice, bob):
    """A room of Alice, a moderator, and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


@pytest.fixture
def suspend(server):
    async def suspend(client):
        await server.accounts.accounts.set_suspended(UserID(client.user_id), is_suspended=True)

    return suspend


async def test_a_suspended_user_reads_redacts_own_events_and_leaves(alice, bob, room, suspend):
    mine, hers = await bob.sends(room, "mine"), await alice.sends(room, "hers")
    await suspend(bob)
    assert (await bob.reads_event(room, hers))["content"]["body"] == "hers"
    await bob.redacts(room, mine)
    assert (await alice.reads_event(room, mine))["content"] == {}
    await bob.leaves(room)
    await bob.forgets(room)


async def test_a_suspended_user_may_leave_by_setting_the_state(alice, bob, room, suspend):
    await suspend(bob)
    await bob.sets(room, "m.room.member", {"membership": "leave"}, bob.user_id)
    assert (await alice.reads_members(room))[bob.user_id] == "leave"


async def test_a_suspended_moderator_does_nothing_to_others(alice, bob, carol, room, suspend):
    event_id = await bob.sends(room, "his")
    await suspend(alice)
    redaction = {"redacts": event_id}
    for attempt in (
        alice.sends(room, "hello"),
        alice.redacts(room, event_id),
        alice.redacts(room, "$unknown"),
        alice.sends(room, redaction, "m.room.redaction"),
        alice.sets(room, "m.room.topic", {"topic": "t"}),
        alice.sets(room, "m.room.member", {"membership": "leave"}, bob.user_id),
        alice.sets(room, "m.room.member", {"membership": "join"}, alice.user_id),
        alice.invites(room, carol),
        alice.kicks(room, bob),
        alice.bans(room, bob),
        alice.unbans(room, bob),
        alice.joins(room),
        alice.knocks(room),
        alice.creates_room(),
        alice.put(f"directory/list/room/{quoted(room)}"),
        alice.put(f"directory/room/{quoted('#a:hs.example')}", {"room_id": room}),
        alice.delete(f"directory/room/{quoted('#a:hs.example')}"),
    ):
        with refused(403, "M_USER_SUSPENDED"):
            await attempt
    assert (await bob.reads_event(room, event_id))["content"]["body"] == "his"
