"""Whatever is wrong with how another server wants its users in or out, it is told, and no more.

Spec: server-server-api/#joining-rooms, #inviting-to-a-room, #leaving-rooms-rejecting-invites,
#knocking-rooms, #third-party-invites
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.support.client import Client, clients_of, quoted
from tests.support.dag import Dag
from tests.support.federation import NamedServer
from tests.support.forged_events import forged, id_of
from tests.support.peer_server import PeerServer, new_key, now_ms
from tests.support.remote_member import RemoteMember

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
MEMBER = "m.room.member"
NOWHERE = "!nowhere:peer.example"
INVALID, BAD_JSON = (400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")
MISSING_PARAM, TOO_LARGE = (400, "M_MISSING_PARAM"), (413, "M_TOO_LARGE")
FORBIDDEN, MISSING = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")
INCOMPATIBLE = (400, "M_INCOMPATIBLE_ROOM_VERSION")
Refusal = tuple[int, str]


class Question(NamedTuple):
    """What is wrong, the request, and what has to be answered."""

    name: str
    method: str
    path: str
    body: Any
    refusal: Refusal
    # Of an incompatible room.
    room_version: str | None = None


class World:
    """Rooms of Alice, and Eve of a peer, who wants into them and out of them."""

    def __init__(
        self, server: NamedServer, alice: Client, carol: Client, eve: RemoteMember
    ) -> None:
        self.server, self.alice, self.carol, self.eve = server, alice, carol, eve.user_id
        self.member, self.peer = eve, eve.peer
        self.rooms: dict[str, str] = {}
        self.seen: dict[str, tuple[Dag, list[Any]]] = {}

    async def build(self) -> None:
        alice, eve = self.alice, {"user_id": self.eve}
        knock = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        allow = [{"type": "m.room_membership", "room_id": NOWHERE}]
        restricted = {"join_rule": "restricted", "allow": allow}
        acl = {"allow": ["*"], "deny": ["127.0.0.?"], "allow_ip_literals": False}
        settings: dict[str, dict[str, Any]] = {
            "open": {"preset": "public_chat"},
            "closed": {},
            "knocking": {"initial_state": [knock]},
            "without knocking": {"preset": "public_chat", "room_version": "6"},
            "restricted": {"initial_state": [{"type": "m.room.join_rules", "content": restricted}]},
            "inviting": {},
            "banning": {"preset": "public_chat"},
            "left": {"preset": "public_chat"},
            "partial": {"initial_state": [knock]},
            "denying": {
                "preset": "public_chat",
                "initial_state": [{"type": "m.room.server_acl", "content": acl}],
            },
        }
        for name, each in settings.items():
            self.rooms[name] = await alice.creates_room(**{"room_version": "11", **each})
            self.seen[name] = await self.member.sees(self.rooms[name])
        await alice.post(f"rooms/{self.rooms['banning']}/ban", eve)
        self.seen["banning"] = await self.member.sees(self.rooms["banning"])
        await alice.leaves(self.rooms["left"])
        path = f"user/{self.carol.user_id}/account_data/m.invite_permission_config"
        await self.carol.put(path, {"default_action": "block"})
        await self.invite_eve("inviting")
        heads = self.server.running.rooms.heads
        async with self.server.running.base.database.connection() as connection:
            await connection.execute(
                "UPDATE rooms SET is_partial_state = true WHERE room_id = $1",
                self.rooms["partial"],
            )
        heads.slot(self.rooms["partial"]).forget()

    async def invite_eve(self, room: str) -> None:
        """Have the invite of Eve's server signed, and let it be in the room."""

        async def signs(request: Any) -> Any:
            body = await request.json()
            dag, _ = self.seen[room]
            signed = forged(body["event"], dag.rules, self.peer.name, self.peer.key)
            both = {**body["event"]["signatures"], **signed["signatures"]}
            return web.json_response({"event": {**body["event"], "signatures": both}})

        respond = self.peer.respond

        async def answers(request: Any) -> Any:
            return await (signs if "/v2/invite/" in request.raw_path else respond)(request)

        self.peer.respond = answers  # type: ignore[method-assign]
        await self.alice.post(f"rooms/{self.rooms[room]}/invite", {"user_id": self.eve})
        self.seen[room] = await self.member.sees(self.rooms[room])

    def event(
        self,
        room: str,
        membership: str,
        *,
        sender: str | None = None,
        state_key: str | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Make a membership event of Eve, signed as it is when there are `changes`."""
        dag, last = self.seen[room]
        pdu = dag.make(
            sender or self.eve,
            MEMBER,
            {"membership": membership},
            last,
            state_key=state_key or self.eve,
            ts=now_ms(),
            is_added=False,
        ).pdu
        key = changes.pop("key", self.peer.key)
        return forged(pdu, dag.rules, self.peer.name, key, **changes)

    def put(
        self, operation: str, room: str, event: Any, event_id: str | None = None
    ) -> tuple[str, str]:
        """Return method and path; `room` is the name of a room, or an ID."""
        rules = self.seen["open"][0].rules
        event_id = event_id or (id_of(event, rules) if isinstance(event, dict) else "$x")
        return "PUT", f"{operation}/{quoted(self.rooms.get(room, room), event_id)}"

    async def condition(self) -> Any:
        """Return everything that a refusal must not change."""
        async with self.server.running.base.database.connection() as connection:
            rooms = await connection.fetch("SELECT room_id, extremities FROM rooms ORDER BY 1")
            state = await connection.fetch("SELECT * FROM room_state ORDER BY 1, 2")
            members = await connection.fetch("SELECT * FROM memberships ORDER BY 1, 2")
            shown = await connection.fetch(
                "SELECT event_id FROM events WHERE pos IS NOT NULL ORDER BY 1"
            )
        return [[tuple(row) for row in rows] for rows in (rooms, state, members, shown)]


def makes(world: World) -> list[Question]:
    """`make_join`, `make_leave` and `make_knock`."""
    found: list[Question] = []

    def ask(
        name: str,
        operation: str,
        room: str,
        refusal: Refusal,
        who: str = world.eve,
        query: str = "?ver=1&ver=6&ver=11",
        room_version: str | None = None,
    ) -> None:
        path = f"{V1}/{operation}/{quoted(world.rooms.get(room, room), who)}{query}"
        found.append(Question(f"{operation} {name}", "GET", path, None, refusal, room_version))

    for operation in ("make_join", "make_leave", "make_knock"):
        ask("a room that is not here", operation, NOWHERE, MISSING)
        ask("a room that this server has left", operation, "left", MISSING)
        ask("no room", operation, "room", INVALID)
        ask("no user", operation, "open", INVALID, who="eve")
        ask("a user of this server", operation, "open", FORBIDDEN, who=world.alice.user_id)
        ask("a user of a third server", operation, "open", FORBIDDEN, who="@x:third.example")
        ask("from a denied server", operation, "denying", FORBIDDEN)
        ask("of the banned", operation, "banning", FORBIDDEN)
        ask("a room of which not all is known", operation, "partial", MISSING)
    for operation, room in (("make_join", "open"), ("make_knock", "knocking")):
        for query in ("?ver=1", "?ver=10&ver=12", "?ver=eleven"):
            ask(f"with{query}", operation, room, INCOMPATIBLE, query=query, room_version="11")
    # "Defaults to [1]" for joins; knocking came later than that.
    ask("without versions", "make_join", "open", INCOMPATIBLE, query="", room_version="11")
    ask("without versions", "make_knock", "knocking", MISSING_PARAM, query="")
    ask("a closed room", "make_join", "closed", FORBIDDEN)
    ask("a room that knows of no other", "make_join", "restricted", UNABLE)
    ask("a closed room", "make_knock", "closed", FORBIDDEN)
    ask("an open room", "make_knock", "open", FORBIDDEN)
    ask("a room without knocking", "make_knock", "without knocking", FORBIDDEN)
    ask("a room that one is not in", "make_leave", "open", FORBIDDEN)
    return found


UNABLE = (400, "M_UNABLE_TO_AUTHORISE_JOIN")
SENDS = [
    (f"{V1}/send_join", "join", "open"),
    (f"{V2}/send_join", "join", "open"),
    (f"{V1}/send_leave", "leave", "inviting"),
    (f"{V2}/send_leave", "leave", "inviting"),
    (f"{V1}/send_knock", "knock", "knocking"),
]


def sends(world: World) -> list[Question]:
    """`send_join`, `send_leave` and `send_knock`, each with what would do but for one thing."""
    found: list[Question] = []
    for operation, membership, good in SENDS:

        def ask(
            name: str,
            event: Any,
            refusal: Refusal,
            room: str = good,
            event_id: str | None = None,
            operation: str = operation,
        ) -> None:
            method, path = world.put(operation, room, event, event_id)
            found.append(Question(f"{operation} {name}", method, path, event, refusal))

        right = world.event(good, membership)
        ask("to a room that is not here", right, MISSING, room=NOWHERE)
        ask("to a room that this server has left", world.event("left", membership), MISSING, "left")
        ask("to another room", right, INVALID, room="banning")
        ask("under another ID", right, INVALID, event_id="$another")
        ask("no object", [], BAD_JSON)
        ask("nothing", {}, INVALID)
        for wrong in {"join", "leave", "invite", "ban", "knock", "x"} - {membership}:
            ask(f"as {wrong}", world.event(good, wrong), INVALID)
        for name, changes in (
            ("of another type", {"type": "m.room.message"}),
            ("of no state", {"state_key": None}),
            ("of another user", {"state_key": f"@other:{world.peer.name}"}),
            ("without content", {"content": {}}),
            ("without prev events", {"prev_events": []}),
            ("with prev events of nowhere", {"prev_events": ["$nowhere"]}),
            ("with auth events of nowhere", {"auth_events": ["$nowhere"]}),
            ("without auth events", {"auth_events": []}),
            ("with a depth of text", {"depth": "1"}),
            ("unsigned", {"signatures": {}}),
            ("with a wrong hash", {"hashes": {"sha256": "A" * 43}}),
            ("with another key", {"key": new_key("test")}),
            ("with an unknown key", {"key": new_key("none")}),
            ("of a user of this server", {
                "sender": world.alice.user_id, "state_key": world.alice.user_id,
            }),
            ("of a third server", {
                "sender": "@x:third.example", "state_key": "@x:third.example",
            }),
        ):  # fmt: skip
            state_key = changes.pop("state_key", world.eve)
            event = world.event(good, membership, **changes)
            if state_key != world.eve:
                event = forged(
                    event, world.seen[good][0].rules, world.peer.name, world.peer.key,
                    state_key=state_key,
                )  # fmt: skip
            # An event without the auth events that it needs is judged, by the rules.
            ask(name, event, FORBIDDEN if name == "without auth events" else INVALID)
        large = {"membership": membership, "reason": "x" * 65_536}
        ask("that is too large", world.event(good, membership, content=large), INVALID)
        ask("far too large", world.event(good, membership, unsigned="x" * 200_000), TOO_LARGE)
        # That comes before anything else is looked at.
        denied = world.event("denying", membership)
        ask("from a denied server", denied, FORBIDDEN, "denying", event_id="$another")
        ask("of the banned", world.event("banning", membership), FORBIDDEN, "banning")
        ask("to a partial room", world.event("partial", membership), MISSING, "partial")
        refused = {"join": "closed", "leave": "open", "knock": "open"}[membership]
        ask("where it is not allowed", world.event(refused, membership), FORBIDDEN, refused)
    return found


def invites(world: World) -> list[Question]:
    """`invite`, of users who are here and of others."""
    found: list[Question] = []
    alice, server = world.alice.user_id, world.server.name
    room = f"!room:{world.peer.name}"
    create = {"type": "m.room.create", "state_key": "", "sender": world.eve, "content": {}}

    def ask(
        name: str,
        refusal: Refusal,
        event_id: str | None = None,
        path_room: str = room,
        version: Any = "11",
        room_version: str | None = None,
        **changes: Any,
    ) -> None:
        whose = changes.pop("state_key", alice)
        membership = changes.pop("membership", "invite")
        event = world.event("open", membership, room_id=room, **changes)
        event = forged(
            event, world.seen["open"][0].rules, world.peer.name,
            changes.get("key", world.peer.key), state_key=whose,
            **{each: changes[each] for each in ("signatures", "hashes") if each in changes},
        )  # fmt: skip
        body = {"event": event, "room_version": version, "invite_room_state": [create]}
        method, path = world.put(f"{V2}/invite", path_room, event, event_id)
        found.append(Question(f"invite {name}", method, path, body, refusal, room_version))

    ask("of nobody", FORBIDDEN, state_key=f"@nobody:{server}")
    ask("of who takes none", (403, "M_INVITE_BLOCKED"), state_key=world.carol.user_id)
    ask("of a user of the peer", INVALID, state_key=world.eve)
    ask("of a user of a third server", INVALID, state_key="@x:third.example")
    ask("of no user", INVALID, state_key="alice")
    ask("of nothing", INVALID, state_key=None)
    ask("under another ID", INVALID, event_id="$another")
    ask("to another room", INVALID, path_room=f"!another:{world.peer.name}")
    ask("as join", INVALID, membership="join")
    ask("as ban", INVALID, membership="ban")
    ask("by a user of this server", INVALID, sender=alice)
    ask("by a user of a third server", INVALID, sender="@x:third.example")
    ask("unsigned", INVALID, signatures={})
    ask("with another key", INVALID, key=new_key("test"))
    ask("with a wrong hash", INVALID, hashes={"sha256": "A" * 43})
    ask("that is too large", INVALID, content={"membership": "invite", "x": "x" * 65_536})
    ask("of a version that nobody knows", INCOMPATIBLE, version="99", room_version="99")
    ask("of another version", INVALID, version="1")
    ask("of a version of another type", BAD_JSON, version=11)
    event = world.event("denying", "invite", state_key=alice)
    method, path = world.put(f"{V2}/invite", "denying", event)
    body = {"event": event, "room_version": "11", "invite_room_state": [create]}
    found.append(Question("invite from a denied server", method, path, body, FORBIDDEN))
    for name in ("event", "room_version"):
        less = {key: each for key, each in body.items() if key != name}
        found.append(Question(f"invite without {name}", method, path, less, MISSING_PARAM))
    found.append(Question("invite of no object", method, path, [], BAD_JSON))
    # The first version of the operation is for rooms of versions 1 and 2 only.
    method, path = world.put(f"{V1}/invite", "denying", event)
    found.append(Question("invite v1 of a new room", method, path, event, INVALID))
    found.append(Question("invite v1 of nothing", method, path, {}, INVALID))
    return found


def exchanges(world: World) -> list[Question]:
    """`exchange_third_party_invite`, of an invite that nobody has made."""
    signed = {"mxid": world.eve, "token": "token", "signatures": {"id.example": {}}}
    whole: dict[str, Any] = {
        "type": MEMBER,
        "room_id": world.rooms["open"],
        "sender": world.alice.user_id,
        "state_key": world.eve,
        "content": {
            "membership": "invite",
            "third_party_invite": {"display_name": "e", "signed": signed},
        },
    }

    def ask(name: str, body: Any, refusal: Refusal, room: str = "open") -> Question:
        path = f"{V1}/exchange_third_party_invite/{quoted(world.rooms.get(room, room))}"
        return Question(f"exchange {name}", "PUT", path, body, refusal)

    def with_signed(**changes: Any) -> dict[str, Any]:
        third = {"display_name": "e", "signed": {**signed, **changes}}
        return {**whole, "content": {"membership": "invite", "third_party_invite": third}}

    nowhere = {**whole, "room_id": NOWHERE}
    left = {**whole, "room_id": world.rooms["left"]}
    return [
        ask("of an unknown token", whole, FORBIDDEN),
        ask("no object", [], BAD_JSON),
        ask("in a room that is not here", nowhere, MISSING, NOWHERE),
        ask("in a room that this server has left", left, MISSING, "left"),
        ask("of another room", whole, INVALID, "closed"),
        ask("of another type", {**whole, "type": "m.room.name"}, INVALID),
        ask("of another user", {**whole, "state_key": world.alice.user_id}, INVALID),
        ask("without content", {**whole, "content": {}}, INVALID),
        ask("as join", {**whole, "content": {**whole["content"], "membership": "join"}}, INVALID),
        ask("without a user", with_signed(mxid=None), INVALID),
        ask("without a token", with_signed(token=None), INVALID),
        ask("without signatures", with_signed(signatures=None), INVALID),
        ask(
            "from a denied server",
            {**whole, "room_id": world.rooms["denying"], "type": "m.room.name"},
            FORBIDDEN,
            "denying",
        ),
    ]


@pytest.fixture
async def world(server: NamedServer, peer: PeerServer) -> AsyncIterator[World]:
    async with clients_of(server.url) as clients:
        alice, carol = await clients.user("alice"), await clients.user("carol")
        made = World(server, alice, carol, RemoteMember(server, peer, "eve"))
        await made.build()
        yield made


TABLES: list[Callable[[World], list[Question]]] = [makes, sends, invites, exchanges]


async def test_what_is_wrong_is_told_and_changes_nothing(world: World) -> None:
    before = await world.condition()
    wrong = []
    for question in [each for table in TABLES for each in table(world)]:
        reply = await world.peer.sends(
            world.server.name, question.method, question.path, question.body
        )
        told = (reply.errcode, reply.json.get("room_version"))
        if told != (question.refusal, question.room_version):
            wrong.append((question.name, told))
    assert not wrong, wrong
    assert await world.condition() == before
    for client in (world.alice, world.carol):
        assert "invite" not in (await client.syncs()).get("rooms", {})


async def test_what_is_right_is_taken(world: World) -> None:
    """The same requests without what is wrong: else the others could be refused for anything."""
    for operation, membership, room in SENDS[1:2] + SENDS[3:]:
        event = world.event(room, membership)
        method, path = world.put(operation, room, event)
        reply = await world.peer.sends(world.server.name, method, path, event)
        assert reply.status == 200, (operation, reply)
        state = await world.alice.reads_state(world.rooms[room], MEMBER, world.eve)
        assert state["membership"] == membership
