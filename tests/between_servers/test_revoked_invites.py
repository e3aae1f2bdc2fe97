"""Invites and knocks of users here, of rooms of other servers, that end over there."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.protocol.hashing import event_id_of
from homeserver.protocol.room_versions import rules_of
from tests.between_servers.conftest import RunServers
from tests.between_servers.test_joining import people
from tests.support.client import Client
from tests.support.federation import NamedServer
from tests.support.forged_events import forged
from tests.support.peer_server import PeerServer, now_ms

LONG_MS = 10_000
VERSION = "10"


@pytest.fixture
async def two(running_servers: RunServers) -> AsyncIterator[list[NamedServer]]:
    async with running_servers(2) as servers:
        yield servers


async def sees(client: Client, section: str, room_id: str, since: str) -> Any:
    """Wait until a room is in a section of the client's syncs."""
    while True:
        answer = await client.syncs(since, timeout=LONG_MS, use_state_after=True)
        assert answer["next_batch"] != since
        rooms = answer.get("rooms", {}).get(section, {})
        if room_id in rooms:
            return rooms[room_id]
        since = answer["next_batch"]


def own_event_of(ended: Any) -> tuple[str, str, str]:
    """Return what a left room tells of the membership: it, the sender and whose it is."""
    [event] = ended["timeline"]["events"]
    assert ended["state_after"]["events"] == [event]
    assert event["event_id"].startswith("$")
    assert isinstance(event["origin_server_ts"], int)
    return event["content"]["membership"], event["sender"], event["state_key"]


async def test_who_declines_an_invite_or_withdraws_a_knock_is_told_so(
    two: list[NamedServer],
) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat", name="Cellar")
        await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
        await bob.post(f"knock/{room_id}", {}, via=two[0].name)
        since = (await bob.syncs())["next_batch"]
        await bob.leaves(room_id)
        ended = await sees(bob, "leave", room_id, since)
        assert own_event_of(ended) == ("leave", bob.user_id, bob.user_id)
        await alice.invites(room_id, bob)
        since = (await bob.syncs())["next_batch"]
        await bob.leaves(room_id, reason="no, thanks")
        ended = await sees(bob, "leave", room_id, since)
        assert own_event_of(ended) == ("leave", bob.user_id, bob.user_id)
        assert ended["timeline"]["events"][0]["content"]["reason"] == "no, thanks"
        left = await alice.reads_state(room_id, "m.room.member", bob.user_id)
        assert left["reason"] == "no, thanks"


@pytest.mark.parametrize("ending", ["kicks", "bans"])
async def test_an_invite_that_is_taken_back_vanishes(two: list[NamedServer], ending: str) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat", name="Cellar")
        await alice.invites(room_id, bob)
        answer = await bob.syncs()
        assert room_id in answer["rooms"]["invite"]
        await getattr(alice, ending)(room_id, bob)
        ended = await sees(bob, "leave", room_id, answer["next_batch"])
        how = {"kicks": "leave", "bans": "ban"}[ending]
        assert own_event_of(ended) == (how, alice.user_id, bob.user_id)
        assert room_id not in (await bob.syncs()).get("rooms", {}).get("invite", {})


async def test_a_knock_that_is_rejected_vanishes(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room()
        await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
        await bob.post(f"knock/{room_id}", {}, via=two[0].name)
        since = (await bob.syncs())["next_batch"]
        await alice.kicks(room_id, bob)
        ended = await sees(bob, "leave", room_id, since)
        assert own_event_of(ended) == ("leave", alice.user_id, bob.user_id)
        assert room_id not in (await bob.syncs()).get("rooms", {}).get("knock", {})


async def test_nobody_else_takes_an_invite_back(
    two: list[NamedServer], peer: PeerServer, other_peer: PeerServer
) -> None:
    """A peer has invited; another one, and wrong events, change nothing."""
    rules = rules_of(VERSION)
    async with people(two[:1], "alice") as [alice]:
        room_id, inviter = f"!cellar:{peer.name}", f"@eve:{peer.name}"

        def member(who: str, by: PeerServer, membership: str, **changes: Any) -> dict[str, Any]:
            pdu: dict[str, Any] = {
                "type": "m.room.member",
                "room_id": room_id,
                "sender": who,
                "state_key": alice.user_id,
                "content": {"membership": membership},
                "depth": 5,
                "origin_server_ts": now_ms(),
                "prev_events": ["$" + "a" * 43],
                "auth_events": ["$" + "b" * 43],
            }
            return forged(pdu, rules, by.name, by.key, **changes)

        async def invites(invite: dict[str, Any]) -> Any:
            return await peer.sends(
                two[0].name,
                "PUT",
                f"/_matrix/federation/v2/invite/{room_id}/{event_id_of(invite, rules)}",
                {"room_version": VERSION, "event": invite, "invite_room_state": []},
            )

        assert (await invites(member(inviter, peer, "invite"))).status == 200

        async def sends(by: PeerServer, pdu: dict[str, Any], txn_id: str) -> Any:
            target = f"/_matrix/federation/v1/send/{txn_id}"
            body = {"origin": by.name, "origin_server_ts": 1, "pdus": [pdu], "edus": []}
            return (await by.sends(two[0].name, "PUT", target, body)).json["pdus"]

        stranger = f"@mallory:{other_peer.name}"
        wrong = [
            (other_peer, member(stranger, other_peer, "leave")),
            (other_peer, member(inviter, other_peer, "leave")),
            (peer, member(inviter, other_peer, "leave")),
            (peer, member(inviter, peer, "invite")),
            (peer, member(inviter, peer, "leave", state_key=f"@nobody:{two[0].name}")),
            (peer, member(inviter, peer, "leave", state_key=None)),
            (peer, member(inviter, peer, "leave", state_key=inviter)),
            (peer, member(inviter, peer, "leave", room_id=f"!other:{peer.name}")),
            (peer, member(inviter, peer, "leave", type="m.room.name")),
            (peer, member(inviter, peer, "leave", depth="deep")),
        ]
        for number, (by, pdu) in enumerate(wrong):
            assert await sends(by, pdu, f"wrong{number}") == {}
            assert room_id in (await alice.syncs())["rooms"]["invite"]
        leave = member(inviter, peer, "leave")
        assert await sends(peer, leave, "right") == {event_id_of(leave, rules): {}}
        assert "rooms" not in await alice.syncs()
        assert await sends(peer, leave, "again") == {}

        # Nobody over there wants to hear that the next one is declined.
        assert (await invites(member(inviter, peer, "invite", depth=6))).status == 200
        since = (await alice.syncs())["next_batch"]
        await alice.leaves(room_id)
        ended = await sees(alice, "leave", room_id, since)
        assert own_event_of(ended) == ("leave", alice.user_id, alice.user_id)
