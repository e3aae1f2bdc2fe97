"""What servers ask each other about the events of rooms, and who is told."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.client import Client, ClientMaker, clients_of, quoted
from tests.support.federation import NamedServer
from tests.support.peer_rooms import known_events, last_event, peer_joins, send_as_peer
from tests.support.peer_server import PeerServer, now_ms

FEDERATION = "/_matrix/federation/v1"
HELLO = {"msgtype": "m.text", "body": "hello"}


async def ask(peer: PeerServer, server: NamedServer, path: str, **query: Any) -> Any:
    target = f"{FEDERATION}/{path}"
    if query:
        target += "?" + urlencode(query, doseq=True)
    reply = await peer.sends(server.name, "GET", target)
    return reply.json if reply.status == 200 else reply.errcode


async def missing(peer: PeerServer, server: NamedServer, room_id: str, body: Any) -> Any:
    target = f"{FEDERATION}/get_missing_events/{quoted(room_id)}"
    reply = await peer.sends(server.name, "POST", target, body)
    return reply.json if reply.status == 200 else reply.errcode


@pytest.fixture
async def clients(server: NamedServer) -> AsyncIterator[ClientMaker]:
    async with clients_of(server.url) as maker:
        yield maker


@pytest.fixture
async def alice(clients: ClientMaker) -> Client:
    return await clients.user("alice")


async def says(alice: Client, room_id: str, count: int) -> list[str]:
    return [await alice.sends(room_id, f"message {number}") for number in range(count)]


async def test_an_event_with_its_auth_chain_and_state(server, alice, peer) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    (event_id,) = await says(alice, room_id, 1)
    await known_events(server, dag)
    answer = await ask(peer, server, f"event/{quoted(event_id)}")
    assert answer["origin"] == server.name
    assert answer["pdus"] == [dag.events[event_id].pdu]
    chain = await ask(peer, server, f"event_auth/{quoted(room_id, event_id)}")
    wanted = {each.event_id for each in dag.auth_chain([event_id])}
    assert {each["type"] for each in chain["auth_chain"]} >= {"m.room.create", "m.room.member"}
    assert len(chain["auth_chain"]) == len(wanted)
    ids = await ask(peer, server, f"state_ids/{quoted(room_id)}", event_id=event_id)
    before = dag.before(event_id)
    assert sorted(ids["pdu_ids"]) == sorted(before.values())
    assert set(ids["auth_chain_ids"]) == {e.event_id for e in dag.auth_chain(before.values())}
    state = await ask(peer, server, f"state/{quoted(room_id)}", event_id=event_id)
    assert len(state["pdus"]) == len(before)
    assert len(state["auth_chain"]) == len(ids["auth_chain_ids"])


async def test_history_backwards_and_between(server, alice, peer) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    sent = await says(alice, room_id, 5)
    await known_events(server, dag)
    answer = await ask(peer, server, f"backfill/{quoted(room_id)}", v=sent[3], limit=3)
    assert answer["pdus"] == [dag.events[each].pdu for each in (sent[3], sent[2], sent[1])]
    found = await missing(
        peer, server, room_id, {"latest_events": [sent[4]], "earliest_events": [sent[1]]}
    )
    assert found == {"events": [dag.events[each].pdu for each in sent[2:4]]}
    ts = dag.events[sent[2]].origin_server_ts
    for direction in "fb":
        closest = await ask(
            peer, server, f"timestamp_to_event/{quoted(room_id)}", ts=ts, dir=direction
        )
        assert closest["origin_server_ts"] == ts
    late = await ask(peer, server, f"timestamp_to_event/{quoted(room_id)}", ts=2**60, dir="b")
    assert late["event_id"] == sent[-1]
    assert await ask(peer, server, f"timestamp_to_event/{quoted(room_id)}", ts=2**60, dir="f") == (
        404,
        "M_NOT_FOUND",
    )


PATHS = [
    "event/{event}",
    "event_auth/{room}/{event}",
    "state/{room}?event_id={event}",
    "state_ids/{room}?event_id={event}",
    "backfill/{room}?v={event}&limit=1",
    "timestamp_to_event/{room}?ts=0&dir=f",
]


@pytest.mark.parametrize("path", PATHS)
async def test_who_is_not_in_the_room_learns_nothing(server, alice, peer, other_peer, path) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await peer_joins(server, peer, room_id)
    (event_id,) = await says(alice, room_id, 1)
    full = path.format(room=quoted(room_id), event=quoted(event_id))
    assert await ask(other_peer, server, full) == (403, "M_FORBIDDEN")
    assert "errcode" not in str(await ask(peer, server, full))
    reply = await peer.sends(server.name, "GET", f"{FEDERATION}/{full}", authorization="X")
    assert reply.errcode == (401, "M_UNAUTHORIZED")
    # A room that does not exist looks the same.
    unknown = path.format(room=quoted(f"!unknown:{server.name}"), event=quoted(event_id))
    if "{room}" in path:
        assert await ask(peer, server, unknown) == (403, "M_FORBIDDEN")
    acl = {"allow": ["*"], "deny": ["127.0.0.?"], "allow_ip_literals": False}
    await alice.put(f"rooms/{quoted(room_id)}/state/m.room.server_acl/", acl)
    assert await ask(peer, server, full) == (403, "M_FORBIDDEN")


async def test_missing_events_are_for_servers_in_the_room(server, alice, peer, other_peer) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await peer_joins(server, peer, room_id)
    body = {"latest_events": [], "earliest_events": []}
    assert await missing(other_peer, server, room_id, body) == (403, "M_FORBIDDEN")
    assert await missing(peer, server, room_id, body) == {"events": []}


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("event/$unknown", (404, "M_NOT_FOUND")),
        ("event/unknown", (400, "M_INVALID_PARAM")),
        ("event_auth/{room}/$unknown", (404, "M_NOT_FOUND")),
        ("event_auth/room/$unknown", (400, "M_INVALID_PARAM")),
        ("state/{room}", (400, "M_MISSING_PARAM")),
        ("state/{room}?event_id=$unknown", (404, "M_NOT_FOUND")),
        ("state_ids/{room}", (400, "M_MISSING_PARAM")),
        ("state_ids/{room}?event_id=x", (400, "M_INVALID_PARAM")),
        ("state_ids/{room}?event_id={other}", (404, "M_NOT_FOUND")),
        ("event_auth/{room}/{other}", (404, "M_NOT_FOUND")),
        ("backfill/{room}?limit=1", (400, "M_MISSING_PARAM")),
        ("backfill/{room}?v=$x", (400, "M_MISSING_PARAM")),
        ("backfill/{room}?v=$x&limit=a", (400, "M_INVALID_PARAM")),
        ("backfill/{room}?v=$x&limit=0", (400, "M_INVALID_PARAM")),
        ("backfill/{room}?v=$x&limit=-1", (400, "M_INVALID_PARAM")),
        ("timestamp_to_event/{room}?ts=1", (400, "M_MISSING_PARAM")),
        ("timestamp_to_event/{room}?ts=a&dir=f", (400, "M_INVALID_PARAM")),
        ("timestamp_to_event/{room}?ts=1&dir=x", (400, "M_INVALID_PARAM")),
    ],
)
async def test_bad_questions_are_refused(server, alice, peer, path, refusal) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await peer_joins(server, peer, room_id)
    elsewhere = await alice.creates_room()
    (other,) = await says(alice, elsewhere, 1)
    full = path.format(room=quoted(room_id), other=quoted(other))
    assert await ask(peer, server, full) == refusal


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"latest_events": []}, (400, "M_MISSING_PARAM")),
        ({"latest_events": "$a", "earliest_events": []}, (400, "M_BAD_JSON")),
        ({"latest_events": ["a"], "earliest_events": []}, (400, "M_INVALID_PARAM")),
        ({"latest_events": [], "earliest_events": [], "limit": -1}, (400, "M_INVALID_PARAM")),
        ({"latest_events": ["$a"] * 101, "earliest_events": []}, (400, "M_INVALID_PARAM")),
        ({"latest_events": [], "earliest_events": [], "min_depth": "0"}, (400, "M_BAD_JSON")),
    ],
)
async def test_bad_questions_for_missing_events_are_refused(
    server, alice, peer, body, refusal
) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await peer_joins(server, peer, room_id)
    assert await missing(peer, server, room_id, body) == refusal


async def test_what_erased_users_said_is_redacted_for_who_joins_later(
    server, clients, alice, peer, other_peer
) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    bob = await clients.user("bob")
    await bob.joins(room_id)
    event_id = await bob.sends(room_id, "what I shall regret")
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": "wordpass-1",
    }
    await bob.post("account/deactivate", {"auth": auth, "erase": True})
    while (await alice.reads_members(room_id))[bob.user_id] != "leave":
        pass
    await known_events(server, dag)
    other_peer.publishes_keys()
    await peer_joins(server, other_peer, room_id, name="fred")

    async def content(who: PeerServer) -> Any:
        answer = await ask(who, server, f"event/{quoted(event_id)}")
        return answer["pdus"][0]["content"]

    assert (await content(peer))["body"] == "what I shall regret"
    assert await content(other_peer) == {}
    page = await ask(other_peer, server, f"backfill/{quoted(room_id)}", v=event_id, limit=1)
    assert page["pdus"][0]["content"] == {}


async def test_what_routes_answer_the_port_reads(server, alice, peer) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    last = await last_event(server, dag.room_id)
    message = dag.make(f"@eve:{peer.name}", "m.room.message", HELLO, [last], ts=now_ms())
    await send_as_peer(server, peer, message)
    peers = server.running.federation.event_peers
    for path in PATHS:
        full = path.format(room=quoted(room_id), event=quoted(message.event_id))
        peer.answers("GET", f"{FEDERATION}/{full.partition('?')[0]}", await ask(peer, server, full))
    assert await peers.event(peer.name, message.event_id) == message.pdu
    assert len(await peers.event_auth(peer.name, dag.room_id, message.event_id)) >= 3
    ids = await peers.state_ids(peer.name, dag.room_id, message.event_id)
    assert sorted(ids.pdu_ids) == sorted(dag.before(message.event_id).values())
    pdus, chain = await peers.state(peer.name, dag.room_id, message.event_id)
    assert (len(pdus), len(chain)) == (len(ids.pdu_ids), len(ids.auth_chain_ids))
    page = await peers.backfill(peer.name, dag.room_id, [message.event_id], 1)
    assert page == [message.pdu]
    found = await peers.timestamp_to_event(peer.name, dag.room_id, 0, forwards=True)
    assert found[0] in dag.events


async def test_what_was_said_before_leaving_is_still_told_to_who_was_there(
    server, alice, peer, other_peer
) -> None:
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    dag = await peer_joins(server, peer, room_id)
    joined = await last_event(server, dag.room_id)
    one, two = await says(alice, room_id, 2)
    await alice.leaves(room_id)
    between = {"earliest_events": [joined], "latest_events": [two], "limit": 10}
    told = await missing(peer, server, room_id, between)
    assert [each["content"]["body"] for each in told["events"]] == ["message 0"]
    ids = await ask(peer, server, f"state_ids/{quoted(room_id)}", event_id=one)
    await known_events(server, dag)
    assert sorted(ids["pdu_ids"]) == sorted(dag.before(one).values())
    other_peer.publishes_keys()
    assert await missing(other_peer, server, room_id, between) == (403, "M_FORBIDDEN")
