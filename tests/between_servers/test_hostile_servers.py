"""A server that lies, floods and stalls, against one of ours over TLS.

Whatever it does: the room, its state and what others see of it stay as they are, the next good
event of a good server is taken, nothing fails here, and the log names who is at fault.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from federation.transport.client import FederationClient, path_of
from homeserver.protocol.event import Event
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import FEDERATION_V1
from tests.support.certificates import Authority
from tests.support.client import Client, ClientMaker, clients_of, quoted
from tests.support.dag import Dag, key_of
from tests.support.federation import NamedServer, named_server
from tests.support.forged_events import forged, id_of
from tests.support.peer_server import (
    Script,
    drips,
    hangs,
    never_ends,
    new_key,
    now_ms,
    peer_server,
    text,
)
from tests.support.postgres import TestCluster
from tests.support.remote_member import RemoteMember

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = {"msgtype": "m.text", "body": "hello"}
V1 = "/_matrix/federation/v1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    postgres: TestCluster,
    template_database: str,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[NamedServer]:
    """One server for all: what is done to it must not matter to the next test."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    # Each process of a run has a server of its own.
    name = f"test_{uuid.uuid4().hex}"
    dsn = postgres.create(name, template_database)
    async with named_server(authority, dsn, folder) as running:
        yield running
    postgres.drop(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(server: NamedServer) -> AsyncIterator[ClientMaker]:
    async with clients_of(server.url) as maker:
        yield maker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(clients: ClientMaker) -> Client:
    return await clients.user("alice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gina(authority: Authority, server: NamedServer) -> AsyncIterator[RemoteMember]:
    """A user of a good server."""
    async with peer_server(authority) as peer:
        yield RemoteMember(server, peer, "gina")


@pytest_asyncio.fixture(loop_scope="module")
async def eve(authority: Authority, server: NamedServer) -> AsyncIterator[RemoteMember]:
    """A user of the bad server, which nobody has heard of before."""
    async with peer_server(authority) as peer:
        yield RemoteMember(server, peer, "eve")


@pytest_asyncio.fixture(loop_scope="module")
async def room(alice: Client, gina: RemoteMember, eve: RemoteMember) -> str:
    """A room of the three."""
    room_id = await alice.creates_room(preset="public_chat", room_version="11")
    await gina.joins(room_id)
    await eve.joins(room_id)
    return room_id


async def condition(gina: RemoteMember, alice: Client, room_id: str) -> Any:
    """Return the state of a room and its end, and what Alice sees of it."""
    head = await gina.server.running.rooms.heads.head(room_id)
    assert head is not None
    state = {key: entry.event_id for key, entry in head.state.items()}
    joined = (await alice.syncs())["rooms"]["join"][room_id]
    shown = [each["event_id"] for each in joined["timeline"]["events"]]
    return state, head.extremities, shown, joined["summary"]


@contextlib.asynccontextmanager
async def unharmed(
    alice: Client, gina: RemoteMember, room_id: str, *, blamed: RemoteMember | None
) -> AsyncIterator[None]:
    """Hold that the block changes nothing in a room, and that only the other side is blamed."""
    since = (await alice.syncs())["next_batch"]
    before = await condition(gina, alice, room_id)
    with capture_logs() as lines:
        yield
        await gina.server.running.receiving.inbox.drained()
    assert await condition(gina, alice, room_id) == before
    news = (await alice.syncs(since)).get("rooms", {}).get("join", {}).get(room_id, {})
    assert not news.get("timeline", {}).get("events"), news
    wrong = [each for each in lines if each["log_level"] in ("error", "critical")]
    assert not wrong, wrong
    assert not [each for each in lines if each.get("status", 0) >= 500], lines
    if blamed is not None:
        warnings = [each for each in lines if each["log_level"] == "warning"]
        assert any(blamed.peer.name in str(each) for each in warnings), lines
    good = await gina.sends_message(room_id, "all is well")
    shown = (await alice.syncs())["rooms"]["join"][room_id]["timeline"]["events"]
    assert shown[-1]["event_id"] == good.event_id
    await alice.sends(room_id, "so it is")


# Events


class Trick:
    """What an event may be made of."""

    def __init__(
        self, dag: Dag, last: list[Any], eve: RemoteMember, alice: Client, gina: RemoteMember
    ) -> None:
        self.dag, self.last = dag, last
        self.eve, self.alice, self.gina = eve.user_id, alice.user_id, gina.user_id
        self.peer = eve.peer
        self.own_name = eve.server.name

    def makes(self, kind: str, content: JsonObject, state_key: str | None = None) -> Event:
        return self.dag.make(
            self.eve, kind, content, self.last, state_key=state_key, ts=now_ms(), is_added=False
        )

    def message(self, **changes: Any) -> JsonObject:
        """Return a message that is well signed, whatever else it is."""
        pdu = self.makes("m.room.message", HELLO).pdu
        return forged(pdu, self.dag.rules, self.peer.name, self.peer.key, **changes)

    def state(self, kind: str, content: JsonObject, state_key: str = "") -> JsonObject:
        return self.makes(kind, content, state_key).pdu

    def member(self, membership: str, whose: str, **content: Any) -> JsonObject:
        return self.state("m.room.member", {"membership": membership, **content}, whose)

    def event_id(self, kind: str, state_key: str = "") -> str:
        return self.dag.state_at(self.last)[kind, state_key]


# The answer tells that they are refused.
REFUSED: dict[str, Callable[[Trick], JsonObject]] = {
    "without signatures": lambda t: t.message(signatures={}),
    "signed with another key": lambda t: forged(
        t.message(), t.dag.rules, t.peer.name, new_key("test")
    ),
    "signed with a key that nobody has": lambda t: forged(
        t.message(), t.dag.rules, t.peer.name, new_key("none")
    ),
    "of a user of the good server": lambda t: t.message(sender=t.gina),
    "of a user of this server": lambda t: t.message(sender=t.alice),
    "of this server, in its name": lambda t: forged(
        t.message(), t.dag.rules, t.own_name, t.peer.key, sender=t.alice
    ),
    "with 21 prev events": lambda t: t.message(prev_events=[f"${'a' * 42}{n}" for n in "x" * 21]),
    "with 11 auth events": lambda t: t.message(auth_events=[f"${'a' * 42}{n}" for n in "x" * 11]),
    "with an event ID that is a number": lambda t: t.message(prev_events=[5]),
    "larger than 64 KiB": lambda t: t.message(content={"body": "x" * 66_000}),
    "with a type of 256 bytes": lambda t: t.message(type="x" * 256),
    "with NUL in its type": lambda t: t.message(type="a\0b"),
    "with NUL in its state key": lambda t: t.message(state_key="a\0b"),
    "with a negative depth": lambda t: t.message(depth=-1),
    "with an endless depth": lambda t: {**t.message(), "depth": 2**53},
    "with a depth of text": lambda t: t.message(depth="1"),
    "without a depth": lambda t: t.message(depth=None),
    "with a fraction": lambda t: {**t.message(), "content": {"body": 1.5}},
    "at a time of text": lambda t: t.message(origin_server_ts="now"),
    "with a list for content": lambda t: t.message(content=[]),
    "without a sender": lambda t: t.message(sender=None),
    "of a sender who is no user": lambda t: t.message(sender="eve"),
}


@pytest.mark.parametrize("trick", REFUSED)
async def test_an_event_against_the_form_is_refused(server, alice, gina, eve, room, trick):
    async with unharmed(alice, gina, room, blamed=eve):
        dag, last = await eve.sees(room)
        pdu = REFUSED[trick](Trick(dag, last, eve, alice, gina))
        reply = await eve.transmits([pdu])
        assert reply.status == 200
        assert all("error" in told for told in reply.json["pdus"].values()), reply


LEVELS = {"users": {"@x:y": 100}}
# They are kept, as rejected, so that they are known when others build on them.
REJECTED: dict[str, Callable[[Trick], JsonObject]] = {
    "takes power": lambda t: t.state("m.room.power_levels", {"users": {t.eve: 100}}),
    "gives power": lambda t: t.state("m.room.power_levels", LEVELS),
    "power of text": lambda t: t.state("m.room.power_levels", {"users": {t.eve: "100"}}),
    "bans the creator": lambda t: t.member("ban", t.alice),
    "kicks the creator": lambda t: t.member("leave", t.alice),
    "joins for somebody else": lambda t: t.member("join", t.alice),
    "knocks where nobody may": lambda t: t.member("knock", t.eve),
    "an unknown membership": lambda t: t.member("owner", t.eve),
    "no membership": lambda t: t.state("m.room.member", {}, t.eve),
    "invites a member": lambda t: t.member("invite", t.alice),
    "invites by a third party that nobody has asked": lambda t: t.member(
        "invite",
        "@new:x.example",
        third_party_invite={"signed": {"mxid": "@new:x.example", "token": "a", "signatures": {}}},
    ),
    "shuts others out": lambda t: t.state("m.room.server_acl", {"allow": [t.peer.name]}),
    "ends the room": lambda t: t.state("m.room.tombstone", {"replacement_room": "!a:b"}),
    "opens history": lambda t: t.state("m.room.history_visibility", {"history_visibility": "x"}),
    "closes the door": lambda t: t.state("m.room.join_rules", {"join_rule": "private"}),
    "writes in another's name": lambda t: t.state("org.example.note", {}, t.alice),
    "cites nothing": lambda t: t.message(auth_events=[]),
    "cites the same twice": lambda t: t.message(
        auth_events=[t.event_id("m.room.create"), t.event_id("m.room.create")]
    ),
    "cites who joined instead": lambda t: t.message(
        auth_events=[t.event_id("m.room.create"), t.event_id("m.room.member", t.gina)]
    ),
    "cites what has nothing to say": lambda t: t.message(
        auth_events=[
            t.event_id("m.room.create"),
            t.event_id("m.room.power_levels"),
            t.event_id("m.room.member", t.eve),
            t.event_id("m.room.history_visibility"),
        ]
    ),
    "follows nothing": lambda t: t.message(prev_events=[]),
}


@pytest.mark.parametrize("trick", REJECTED)
async def test_an_event_against_the_rules_is_rejected(server, alice, gina, eve, room, trick):
    async with unharmed(alice, gina, room, blamed=eve):
        dag, last = await eve.sees(room)
        pdu = REJECTED[trick](Trick(dag, last, eve, alice, gina))
        reply = await eve.transmits([pdu])
        assert reply.json == {"pdus": {id_of(pdu, dag.rules): {}}}


async def test_a_room_that_the_server_is_not_in_cannot_be_written(server, alice, gina, eve, room):
    """Not with its own room's events either, which are signed, and name another room."""
    other = await alice.creates_room(preset="private_chat", room_version="11")
    await alice.sends(other, "private")
    async with unharmed(alice, gina, room, blamed=eve):
        dag, last = await eve.sees(room)
        trick = Trick(dag, last, eve, alice, gina)
        foreign, _ = await eve.sees(other)
        before = await server.running.rooms.heads.head(other)
        pdus = [
            trick.message(room_id=other),
            {**trick.message(), "room_id": other},
            foreign.make(
                eve.user_id, "m.room.message", HELLO, [before.extremities[0][1]],
                ts=now_ms(), is_added=False,
            ).pdu,
            foreign.make(
                eve.user_id, "m.room.member", {"membership": "join"},
                [before.extremities[0][1]], state_key=eve.user_id, ts=now_ms(), is_added=False,
            ).pdu,
        ]  # fmt: skip
        await eve.transmits(pdus)
        after = await server.running.rooms.heads.head(other)
        assert (after.extremities, after.state) == (before.extremities, before.state)


async def test_what_others_have_said_cannot_be_said_again(server, alice, gina, eve, room):
    spoken = await alice.sends(room, "once")
    async with unharmed(alice, gina, room, blamed=None):
        dag, _ = await eve.sees(room)
        everything = [each.pdu for each in dag.events.values()]
        reply = await eve.transmits(everything)
        assert reply.json["pdus"][spoken] == {}


# Whole requests


async def test_a_transaction_of_more_than_ten_megabytes_is_not_read(server, alice, gina, eve, room):
    async with unharmed(alice, gina, room, blamed=None):
        body = {"pdus": [], "edus": [], "padding": "x" * (10 * 1024 * 1024)}
        try:
            reply = await eve.peer.sends(server.name, "PUT", f"{V1}/send/large", body)
            assert reply.errcode == (413, "M_TOO_LARGE")
        except OSError:
            pass  # Cut off while it was still sending.


async def test_what_nobody_has_signed_is_refused_by_every_operation(server, alice, gina, eve, room):
    document = await alice.get("/openapi.json")
    values = {"room_id": room, "user_id": eve.user_id, "event_id": "$x", "media_id": "x"}
    open_to_all = ("/version", "/openid/userinfo", "/3pid/onbind")
    asked = 0
    async with unharmed(alice, gina, room, blamed=None):
        for path, methods in document["paths"].items():
            if not path.startswith("/_matrix/federation/") or path.endswith(open_to_all):
                continue
            parts = [
                quoted(values.get(part[1:-1], "x")) if part.startswith("{") else part
                for part in path.split("/")
            ]
            for method in methods:
                body = {} if method.upper() in ("PUT", "POST") else None
                target = "/".join(parts)
                for forgery in (
                    {"authorization": "Bearer x"},
                    {"origin": gina.peer.name},
                    {"key": new_key("test")},
                    {"destination": gina.peer.name},
                ):
                    reply = await eve.peer.sends(
                        server.name, method.upper(), target, body, **forgery
                    )
                    assert reply.errcode == (401, "M_UNAUTHORIZED"), (path, forgery)
                asked += 1
    assert asked > 25


async def test_a_key_that_changes_under_its_name_is_not_believed(server, alice, gina, eve, room):
    async with unharmed(alice, gina, room, blamed=eve):
        dag, last = await eve.sees(room)
        eve.peer.key = new_key("test")
        eve.peer.publishes_keys()
        event = Trick(dag, last, eve, alice, gina).message()
        assert (await eve.transmits([event])).errcode == (401, "M_UNAUTHORIZED")
        eve.peer.key = key_of(eve.peer.name)
        event = forged(event, dag.rules, eve.peer.name, new_key("test"))
        told = (await eve.transmits([event])).json["pdus"]
        assert all("error" in each for each in told.values())


V2 = "/_matrix/federation/v2"
INVALID, FORBIDDEN, MISSING = (400, "M_INVALID_PARAM"), (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")
NOWHERE = "%21nowhere:x"
QUESTIONS: list[tuple[str, str, Any, tuple[int, str]]] = [
    ("GET", V1 + "/make_join/ROOM/ALICE?ver=11", None, FORBIDDEN),
    ("GET", V1 + "/make_join/ROOM/EVE?ver=1", None, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
    ("GET", V1 + "/make_join/ROOM/EVE", None, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
    ("GET", V1 + "/make_join/ROOM/eve?ver=11", None, INVALID),
    ("GET", V1 + f"/make_join/{NOWHERE}/EVE?ver=11", None, MISSING),
    ("GET", V1 + "/make_join/room/EVE?ver=11", None, INVALID),
    ("GET", V1 + "/make_leave/ROOM/ALICE", None, FORBIDDEN),
    ("GET", V1 + f"/make_leave/{NOWHERE}/EVE", None, MISSING),
    ("GET", V1 + "/make_knock/ROOM/EVE?ver=11", None, FORBIDDEN),
    ("GET", V1 + "/make_knock/ROOM/EVE", None, (400, "M_MISSING_PARAM")),
    ("PUT", V2 + "/send_join/ROOM/$x", {}, INVALID),
    ("PUT", V2 + f"/send_join/{NOWHERE}/$x", {}, MISSING),
    ("PUT", V2 + "/send_join/ROOM/$x", "MESSAGE", INVALID),
    ("PUT", V2 + "/send_join/ROOM/ID", "MESSAGE", INVALID),
    ("PUT", V2 + "/send_leave/ROOM/ID", "MESSAGE", INVALID),
    ("PUT", V1 + "/send_knock/ROOM/ID", "MESSAGE", INVALID),
    ("PUT", V2 + "/send_join/ROOM/ID", [], (400, "M_BAD_JSON")),
    ("PUT", V2 + "/invite/ROOM/$x", {}, (400, "M_MISSING_PARAM")),
    ("PUT", V2 + "/invite/ROOM/$x", {"room_version": 1, "event": {}}, (400, "M_BAD_JSON")),
    (
        "PUT", V2 + "/invite/ROOM/$x", {"room_version": "none", "event": {}},
        (400, "M_INCOMPATIBLE_ROOM_VERSION"),
    ),
    ("PUT", V2 + "/invite/ROOM/ID", {"room_version": "11", "event": "MESSAGE"}, INVALID),
    ("PUT", V1 + "/invite/ROOM/ID", "MESSAGE", INVALID),
    ("PUT", V1 + "/exchange_third_party_invite/ROOM", {}, INVALID),
    ("GET", V1 + f"/hierarchy/{NOWHERE}", None, MISSING),
    ("GET", V1 + "/hierarchy/ROOM?suggested_only=x", None, INVALID),
    ("GET", V1 + "/query/profile?user_id=GINA", None, INVALID),
    ("GET", V1 + "/query/profile", None, (400, "M_MISSING_PARAM")),
    ("GET", V1 + "/query/directory?room_alias=%23none:x", None, MISSING),
    ("GET", V1 + "/query/anything", None, MISSING),
    ("GET", V1 + "/user/devices/GINA", None, MISSING),
    ("GET", V1 + "/user/devices/gina", None, INVALID),
    ("POST", V1 + "/user/keys/query", {"device_keys": []}, (400, "M_BAD_JSON")),
    ("POST", V1 + "/user/keys/query", {}, (400, "M_MISSING_PARAM")),
    ("POST", V1 + "/user/keys/claim", {"one_time_keys": {"a": {}}}, INVALID),
    ("GET", V1 + "/publicRooms?limit=x", None, INVALID),
    ("POST", V1 + "/publicRooms", {"limit": "x"}, (400, "M_BAD_JSON")),
    ("GET", V1 + "/media/download/none", None, MISSING),
    ("GET", V1 + "/media/thumbnail/none?width=1", None, (400, "M_MISSING_PARAM")),
    ("GET", V1 + "/none", None, (404, "M_UNRECOGNIZED")),
    ("POST", V1 + "/send/x", {}, (405, "M_UNRECOGNIZED")),
]  # fmt: skip


async def test_questions_against_the_rules_are_refused(server, alice, gina, eve, room):
    async with unharmed(alice, gina, room, blamed=None):
        dag, last = await eve.sees(room)
        message = Trick(dag, last, eve, alice, gina).message()
        names = {
            "ROOM": quoted(room), "ALICE": quoted(alice.user_id), "EVE": quoted(eve.user_id),
            "GINA": quoted(gina.user_id), "ID": quoted(id_of(message, dag.rules)),
        }  # fmt: skip
        told = []
        for method, path, body, _ in QUESTIONS:
            for name, value in names.items():
                path = path.replace(name, value)
            if isinstance(body, dict) and body.get("event") == "MESSAGE":
                body = {**body, "event": message}
            body = message if body == "MESSAGE" else body
            reply = await eve.peer.sends(server.name, method, path, body)
            told.append((method, path, reply.errcode))
        wrong = [
            (one, question[3])
            for one, question in zip(told, QUESTIONS, strict=True)
            if one[2] != question[3]
        ]
        assert not wrong, wrong


# Answers


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for longer than 300 ms."""
    for name in ("get", "post"):
        monkeypatch.setitem(getattr(FederationClient, name).__kwdefaults__, "timeout_ms", 300)
    monkeypatch.setattr("federation.event_peers._STATE_TIMEOUT_MS", 300)


async def follows_what_is_not_there(eve: RemoteMember, room: str) -> tuple[Event, Event]:
    """Send an event whose prev event is kept back; return both."""
    dag, last = await eve.sees(room)
    hidden = dag.make(eve.user_id, "m.room.message", HELLO, last, ts=now_ms())
    event = dag.make(eve.user_id, "m.room.message", HELLO, [hidden.event_id], ts=now_ms())
    reply = await eve.transmits([event.pdu])
    assert reply.json == {"pdus": {event.event_id: {}}}
    return hidden, event


def answers_everything(eve: RemoteMember, room: str, script: Any) -> None:
    for method, name in (
        ("POST", "get_missing_events"), ("GET", "state_ids"), ("GET", "state"), ("GET", "backfill"),
    ):  # fmt: skip
        eve.peer.answers(method, path_of(FEDERATION_V1, name, room), script)


ANSWERS: dict[str, Script | JsonObject] = {
    "none": hangs,
    "a beginning": drips,
    "no end": never_ends,
    "a web page": text("<html>"),
    "a way to a private address": text("", 307, Location="https://127.0.0.1:1/"),
    "a failure": text("{}", 500),
    "a lie about the form": {"events": {}, "pdu_ids": "x", "auth_chain_ids": 5, "pdus": None},
    "junk": {"events": [{}], "pdu_ids": ["$x"], "auth_chain_ids": ["$x"], "pdus": [{}]},
    "a hundred thousand names": {
        "events": [],
        "pdu_ids": [f"${n}" for n in range(250_001)],
        "auth_chain_ids": [],
    },
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_of_no_use_leaves_the_event_waiting(
    server, alice, gina, eve, room, impatience, answer
):
    answers_everything(eve, room, ANSWERS[answer])
    async with unharmed(alice, gina, room, blamed=eve):
        await follows_what_is_not_there(eve, room)
        assert eve.peer.asked(path_of(FEDERATION_V1, "get_missing_events", room))


async def test_a_server_that_takes_its_time_holds_up_nobody_else(server, alice, gina, eve, room):
    async def waits(_request: web.BaseRequest) -> web.StreamResponse:
        await is_over.wait()
        return web.json_response({}, status=404)

    async def transmits(member: RemoteMember, room_id: str, *, prev_is_known: bool) -> str:
        """Send a message, and do not wait until it is dealt with."""
        dag, last = await member.sees(room_id)
        if not prev_is_known:
            hidden = dag.make(member.user_id, "m.room.message", HELLO, last, ts=now_ms())
            last = [hidden.event_id]
        event = dag.make(member.user_id, "m.room.message", HELLO, last, ts=now_ms())
        body = {"pdus": [event.pdu], "edus": []}
        reply = await member.peer.sends(server.name, "PUT", f"{V1}/send/{uuid.uuid4().hex}", body)
        assert reply.json == {"pdus": {event.event_id: {}}}
        return event.event_id

    is_over = asyncio.Event()
    other = await alice.creates_room(preset="public_chat", room_version="11")
    await gina.joins(other)
    since = (await alice.syncs())["next_batch"]
    answers_everything(eve, room, waits)
    await transmits(eve, room, prev_is_known=False)
    for room_id in (room, other):
        good = await transmits(gina, room_id, prev_is_known=True)
        answer = await alice.syncs(since, timeout=15_000)
        joined, since = answer["rooms"]["join"], answer["next_batch"]
        assert [each["event_id"] for each in joined[room_id]["timeline"]["events"]] == [good]
    await alice.sends(room, "who waits for whom?")
    assert not is_over.is_set()
    is_over.set()
    await server.running.receiving.inbox.drained()


@pytest.mark.parametrize("answer", ["none", "a beginning", "a failure", "junk"])
async def test_what_a_server_keeps_back_is_had_from_another_one(
    server, alice, gina, eve, room, impatience, answer
):
    answers_everything(eve, room, ANSWERS[answer])
    path = path_of(FEDERATION_V1, "backfill", room)

    async def gives(_request: web.BaseRequest) -> web.StreamResponse:
        missing = [e for e in eve.dags[room].events.values() if e.sender == eve.user_id][-2]
        return web.json_response({"origin": gina.peer.name, "pdus": [missing.pdu]})

    gina.peer.answers("GET", path, gives)
    since = (await alice.syncs())["next_batch"]
    hidden, event = await follows_what_is_not_there(eve, room)
    timeline = (await alice.syncs(since))["rooms"]["join"][room]["timeline"]["events"]
    assert [each["event_id"] for each in timeline] == [hidden.event_id, event.event_id]
    assert len(gina.peer.asked(path)) == 1


async def test_who_sends_more_than_can_be_taken_has_to_send_it_again(
    server, alice, gina, eve, room, impatience, monkeypatch
):
    answers_everything(eve, room, ANSWERS["none"])
    async with unharmed(alice, gina, room, blamed=eve):
        await follows_what_is_not_there(eve, room)
        with monkeypatch.context() as limits:
            limits.setattr("homeserver.rooms.receive.staging.MAX_STAGED", 1)
            pdus = [Trick(*await eve.sees(room), eve, alice, gina).message()]
            for _ in range(2):
                reply = await eve.transmits(pdus, txn_id="again")
                assert reply.errcode == (429, "M_LIMIT_EXCEEDED")
                assert reply.json["retry_after_ms"] > 0
    reply = await eve.transmits(pdus, txn_id="again")
    assert list(reply.json["pdus"].values()) == [{}]
    shown = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
    assert shown[-1]["event_id"] in reply.json["pdus"]


async def test_states_that_contradict_each_other_change_nothing(server, alice, gina, eve, room):
    """The state before the event lacks what the room has, and has some of it twice."""
    dag, last = await eve.sees(room)
    state = dag.state_at(last)
    again = dag.make(
        eve.user_id, "m.room.member", {"membership": "join", "displayname": "E"}, last,
        state_key=eve.user_id, ts=now_ms(),
    )  # fmt: skip
    levels = dag.make(
        eve.user_id, "m.room.power_levels", {"users": {eve.user_id: 100}}, last,
        state_key="", ts=now_ms(),
    )  # fmt: skip
    message = dag.make(eve.user_id, "m.room.message", HELLO, last, ts=now_ms())
    for each in (again, levels, message):
        eve.peer.answers(
            "GET", path_of(FEDERATION_V1, "event", each.event_id), {"pdus": [each.pdu]}
        )
    kept = {"m.room.create", "m.room.join_rules"}
    told = [event_id for (kind, _), event_id in state.items() if kind in kept]
    told += [state["m.room.member", eve.user_id], again.event_id, levels.event_id]
    answers_everything(
        eve,
        room,
        {"events": [], "pdu_ids": [*told, *told, message.event_id], "auth_chain_ids": []},
    )
    gina.dags[room] = dag
    since = (await alice.syncs())["next_batch"]
    before, *_ = await condition(gina, alice, room)
    with capture_logs() as lines:
        _, event = await follows_what_is_not_there(eve, room)
    after, *_ = await condition(gina, alice, room)
    own = ("m.room.member", eve.user_id)
    assert {**after, own: ""} == {**before, own: ""}
    assert not [each for each in lines if each["log_level"] == "error"]
    news = (await alice.syncs(since))["rooms"]["join"].get(room, {})
    shown = [each["event_id"] for each in news.get("timeline", {}).get("events", [])]
    assert shown[-1:] == [event.event_id]
    assert (await alice.reads_members(room))[alice.user_id] == "join"
    await alice.sets(room, "m.room.topic", {"topic": "still mine"})
    await gina.sends_message(room, "all is well")


async def test_an_auth_chain_of_more_than_ten_thousand_is_not_followed(
    server, alice, gina, eve, room
):
    dag, last = await eve.sees(room)
    hidden = dag.make(
        eve.user_id, "m.room.member", {"membership": "join", "displayname": "E"}, last,
        state_key=eve.user_id, ts=now_ms(),
    )  # fmt: skip
    state = dag.after(hidden.event_id)
    event = dag.make(eve.user_id, "m.room.message", HELLO, last, state=state, ts=now_ms())
    path = path_of(FEDERATION_V1, "event_auth", room, event.event_id)
    eve.peer.answers("GET", path, {"auth_chain": [hidden.pdu] * 10_001})
    async with unharmed(alice, gina, room, blamed=eve):
        await eve.transmits([event.pdu])
        assert len(eve.peer.asked(path)) == 1


async def test_a_long_auth_chain_is_judged_without_harm(server, alice, gina, eve, room):
    """Each of a thousand joins cites the one before it; all of them were never sent."""
    dag, last = await eve.sees(room)
    state = dict(dag.state_at(last))
    chain: list[Event] = []
    for number in range(1_000):
        join = {"membership": "join", "displayname": f"E{number}"}
        chain.append(
            dag.make(
                eve.user_id,
                "m.room.member",
                join,
                last,
                state=state,
                state_key=eve.user_id,
                ts=now_ms(),
            )
        )
        state["m.room.member", eve.user_id] = chain[-1].event_id
    event = dag.make(
        eve.user_id, "m.room.message", HELLO, last, state=state, ts=now_ms(), is_added=False
    )
    path = path_of(FEDERATION_V1, "event_auth", room, event.event_id)
    eve.peer.answers("GET", path, {"auth_chain": [each.pdu for each in reversed(chain)]})
    gina.dags[room] = dag
    before, *_ = await condition(gina, alice, room)
    await eve.transmits([event.pdu])
    assert len(eve.peer.asked(path)) == 1
    after, _, shown, _ = await condition(gina, alice, room)
    assert (after, shown[-1]) == (before, event.event_id)
    await gina.sends_message(room, "all is well")


DEVICES: dict[str, Any] = {
    "of somebody else": {"user_id": "ALICE", "stream_id": 1, "devices": [{"device_id": "X"}]},
    "without an end": never_ends,
    "of no form": {"user_id": 5, "stream_id": "x", "devices": {}},
    "with other keys": {
        "user_id": "EVE", "stream_id": 1,
        "devices": [{"device_id": "X", "keys": {"user_id": "ALICE", "device_id": "X"}}],
    },
    "of a hundred thousand": {
        "user_id": "EVE", "stream_id": 1, "devices": [{"device_id": str(n)} for n in range(10**5)],
    },
}  # fmt: skip


@pytest.mark.parametrize("answer", DEVICES)
async def test_device_lists_that_lie_are_not_believed(
    server, alice, gina, eve, room, impatience, answer
):
    told = DEVICES[answer]
    if isinstance(told, dict):
        names = {"ALICE": alice.user_id, "EVE": eve.user_id}
        told = {**told, "user_id": names.get(told["user_id"], told["user_id"])}
    eve.peer.answers("GET", path_of(FEDERATION_V1, "user", "devices", eve.user_id), told)
    async with unharmed(alice, gina, room, blamed=None):
        update = {"user_id": eve.user_id, "device_id": "X", "stream_id": 1, "prev_id": []}
        assert (await eve.says("m.device_list_update", update)).status == 200
        found = await alice.post(
            "keys/query", {"device_keys": {eve.user_id: [], alice.user_id: []}, "timeout": 300}
        )
        async with asyncio.timeout(30):
            while not eve.peer.asked(path_of(FEDERATION_V1, "user", "devices", eve.user_id)):
                await alice.get("account/whoami")
        assert not found["device_keys"].get(eve.user_id)
        assert "X" not in found["device_keys"].get(alice.user_id, {})
