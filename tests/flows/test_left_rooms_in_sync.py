"""The section `leave` of /sync. Spec: client-server-api/#get_matrixclientv3sync"""

import pytest

KNOCKING = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]


class Follower:
    """A client that knows its memberships by /sync alone."""

    def __init__(self, client, state_key):
        self._client = client
        self._state_key = state_key
        self._since = None

    async def told(self, room):
        """Return what a client believes afterwards, and the timeline of the answer."""
        query = {"use_state_after": True} if self._state_key == "state_after" else {}
        answer = await self._client.syncs(self._since, **query)
        self._since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        part = rooms.get("leave", {}).get(room) or rooms.get("join", {}).get(room)
        if part is None:
            return None, []
        # "Clients MUST only update their local state with events in this list [state_after]".
        timeline = part["timeline"]["events"]
        state = part[self._state_key]["events"]
        known = state if self._state_key == "state_after" else [*state, *timeline]
        own = [e for e in known if e.get("state_key") == self._client.user_id]
        assert len(own) == 1 or self._state_key == "state"
        return own[-1]["content"]["membership"], timeline


@pytest.fixture(params=["state", "state_after"])
async def follower(bob, request):
    follower = Follower(bob, request.param)
    await follower.told("!none")
    return follower


async def test_a_client_learns_that_an_invite_or_a_knock_has_ended(alice, bob, follower):
    room = await alice.creates_room(initial_state=KNOCKING)
    await bob.knocks(room)
    assert await follower.told(room) == (None, [])
    await bob.leaves(room)
    assert (await follower.told(room))[0] == "leave"
    await alice.invites(room, bob)
    assert await follower.told(room) == (None, [])
    await bob.leaves(room)
    assert (await follower.told(room))[0] == "leave"
    await alice.invites(room, bob)
    await follower.told(room)
    await alice.bans(room, bob)
    assert (await follower.told(room))[0] == "ban"


async def test_who_has_left_is_told_only_what_becomes_of_the_membership(alice, bob, follower):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    assert (await follower.told(room))[0] == "join"
    await alice.kicks(room, bob)
    membership, timeline = await follower.told(room)
    assert (membership, len(timeline)) == ("leave", 1)
    await alice.sends(room, "unseen")
    await alice.bans(room, bob)
    membership, timeline = await follower.told(room)
    assert (membership, len(timeline)) == ("ban", 1)
    await alice.unbans(room, bob)
    membership, timeline = await follower.told(room)
    assert (membership, len(timeline)) == ("leave", 1)


async def test_who_was_kicked_and_banned_in_between_learns_of_the_ban(alice, bob, follower):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await follower.told(room)
    await alice.sends(room, "seen")
    await alice.kicks(room, bob)
    await alice.sends(room, "unseen")
    await alice.bans(room, bob)
    membership, timeline = await follower.told(room)
    assert membership == "ban"
    assert [e["content"].get("body") or e["content"]["membership"] for e in timeline] == [
        "seen",
        "leave",
        "ban",
    ]
