"""The signatures of events: which of many events are what they claim to be."""

from typing import Any

import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.hashing import add_content_hash
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.server_keys import build_key_document
from homeserver.protocol.signing import sign_event
from homeserver.run.compose import RunningServer
from tests.support.peer_server import DAY_MS, KEYS, PeerServer, new_key, now_ms

OLD = new_key("old")


def event(
    *signers: PeerServer, version: str = "11", sender: PeerServer | None = None, **members: Any
) -> Event:
    """Return an event that some servers have signed; the first one's user has sent it."""
    rules = rules_of(version)
    origin = sender or signers[0]
    pdu: JsonObject = {
        "room_id": "!room:a.example",
        "sender": f"@u:{origin.name}",
        "type": "m.room.message",
        "content": {"body": "hello"},
        "origin_server_ts": now_ms(),
        "depth": 5,
        "prev_events": [],
        "auth_events": [],
        **members,
    }
    pdu = add_content_hash(pdu, rules)
    for each in signers:
        pdu = sign_event(pdu, rules, each.name, each.key)
    pdu.setdefault("signatures", {})
    return event_from_pdu(pdu, rules)


def changed(original: Event, **members: Any) -> Event:
    return event_from_pdu({**original.pdu, **members}, rules_of(original.room_version))


async def verified(running: RunningServer, *events: Event) -> frozenset[EventID]:
    return await running.federation.event_signatures.verify_events(events)


async def is_verified(running: RunningServer, each: Event) -> bool:
    return each.event_id in await verified(running, each)


@pytest.mark.parametrize("version", [str(number) for number in range(1, 12)])
async def test_event_of_its_sender_is_verified_in_every_version(
    running: RunningServer, peer: PeerServer, version: str
) -> None:
    members = {"event_id": f"$x:{peer.name}"} if version in ("1", "2") else {}
    assert await is_verified(running, event(peer, version=version, **members))


async def test_redacted_copy_is_verified(running: RunningServer, peer: PeerServer) -> None:
    original = event(peer)
    rules = rules_of("11")
    assert await is_verified(running, event_from_pdu(redact(original.pdu, rules), rules))


async def test_events_that_were_not_signed_so_are_left_out(
    running: RunningServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    good = event(peer)
    stranger = event(other_peer, sender=peer)
    unsigned = event(sender=peer)
    other_depth = changed(good, depth=6)
    found = await verified(running, good, stranger, unsigned, other_depth)
    assert found == {good.event_id}


async def test_many_events_are_verified_at_once(
    running: RunningServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    good = [event(each, depth=depth) for depth in range(150) for each in (peer, other_peer)]
    bad = [changed(each, depth=each.depth + 1000) for each in good[:10]]
    found = await verified(running, *good, *bad)
    assert found == {each.event_id for each in good}
    assert len(peer.asked(KEYS)) == 1


async def test_event_id_must_be_signed_for_in_old_rooms(
    running: RunningServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    event_id = f"$x:{other_peer.name}"
    assert not await is_verified(running, event(peer, version="2", event_id=event_id))
    assert await is_verified(running, event(peer, other_peer, version="2", event_id=event_id))


async def test_restricted_join_must_be_signed_by_who_authorized_it(
    running: RunningServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    join = {
        "type": "m.room.member",
        "state_key": f"@u:{peer.name}",
        "content": {
            "membership": "join",
            "join_authorised_via_users_server": f"@v:{other_peer.name}",
        },
    }
    assert not await is_verified(running, event(peer, **join))
    assert await is_verified(running, event(peer, other_peer, **join))


async def test_invite_by_a_third_party_needs_no_signature_of_its_sender(
    running: RunningServer, peer: PeerServer, other_peer: PeerServer
) -> None:
    invite = event(
        other_peer,
        sender=peer,
        type="m.room.member",
        state_key=f"@v:{other_peer.name}",
        content={"membership": "invite", "third_party_invite": {"signed": {}}},
    )
    assert await is_verified(running, invite)


async def test_own_events_need_no_request(running: RunningServer, peer: PeerServer) -> None:
    own = running.federation.own_keys
    ours = PeerServer(own.server_name, peer._session)
    ours.key = own.signing_key
    assert await is_verified(running, event(ours))
    ours.key = new_key()
    assert not await is_verified(running, event(ours))


async def test_key_that_expired_signs_events_of_its_time_only(
    running: RunningServer, peer: PeerServer
) -> None:
    expired_ts = now_ms() - DAY_MS
    current = peer.key
    peer.publishes_keys(
        build_key_document(
            peer.name,
            current,
            old_keys={OLD.key_id: (OLD.verify_key, expired_ts)},
            valid_until_ts=now_ms() + DAY_MS,
        )
    )
    peer.key = OLD
    before, after = (event(peer, origin_server_ts=expired_ts + ms) for ms in (-1, 1))
    # "This field MUST be ignored in room versions 1, 2, 3, and 4."
    lenient = event(peer, version="4", origin_server_ts=expired_ts + 1)
    assert await verified(running, before, after, lenient) == {before.event_id, lenient.event_id}


async def test_event_of_a_time_when_no_key_is_valid_is_left_out(
    running: RunningServer, peer: PeerServer
) -> None:
    future = event(peer, origin_server_ts=now_ms() + 8 * DAY_MS)
    peer.publishes_keys(valid_until_ts=now_ms() + 30 * DAY_MS)
    assert not await is_verified(running, future)


async def test_wrong_signature_by_a_second_key_is_not_overlooked(
    running: RunningServer, peer: PeerServer
) -> None:
    good = event(peer)
    second = new_key("second")
    keys = {each.key_id: {"key": each.verify_key} for each in (peer.key, second)}
    peer.publishes_keys(verify_keys=keys)
    of_peer = good.pdu["signatures"][peer.name]
    wrong = {**of_peer, second.key_id: of_peer[peer.key.key_id]}
    assert not await is_verified(running, changed(good, signatures={peer.name: wrong}))
    unknown = {**of_peer, "ed25519:unknown": "AAAA"}
    assert await is_verified(running, changed(good, signatures={peer.name: unknown}))


async def test_keys_that_cannot_be_had_leave_events_out(
    running: RunningServer, peer: PeerServer
) -> None:
    peer.answers("GET", KEYS, {}, status=404)
    assert not await is_verified(running, event(peer))
    assert await verified(running) == frozenset()
