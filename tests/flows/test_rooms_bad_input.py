"""What each operation on rooms answers to input that is wrong: one table."""

from typing import Any, NamedTuple

import pytest

from tests.support.client import answer_of, quoted
from tests.support.server import SERVER_NAME


class Bad(NamedTuple):
    """A request, and how it is refused. `{room}` and `{event}` stand for real ones."""

    method: str
    path: str
    body: Any
    errcode: str
    status: int = 400


ALICE, BOB = f"@alice:{SERVER_NAME}", f"@bob:{SERVER_NAME}"
ADDRESS = {"id_server": "i", "id_access_token": "t", "medium": "email", "address": "a"}

BODIES = [
    Bad("POST", "createRoom", [], "M_BAD_JSON"),
    Bad("POST", "createRoom", {"visibility": "secret"}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"visibility": 1}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"preset": "chat"}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"name": 1}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"topic": {}}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"room_version": 1}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"room_version": "0"}, "M_UNSUPPORTED_ROOM_VERSION"),
    Bad("POST", "createRoom", {"invite": BOB}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"invite": ["bob"]}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"invite": [1]}, "M_BAD_JSON"),
    Bad(
        "POST",
        "createRoom",
        {"invite": [f"@u{number}:{SERVER_NAME}" for number in range(1_001)]},
        "M_INVALID_PARAM",
    ),
    Bad("POST", "createRoom", {"invite_3pid": [{"medium": "email"}]}, "M_MISSING_PARAM"),
    Bad("POST", "createRoom", {"invite_3pid": {}}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"creation_content": "m.federate"}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"initial_state": {}}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"initial_state": [{"content": {}}]}, "M_MISSING_PARAM"),
    Bad("POST", "createRoom", {"initial_state": [{"type": "m.a"}]}, "M_MISSING_PARAM"),
    Bad("POST", "createRoom", {"initial_state": [{"type": 1, "content": {}}]}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"initial_state": [{"type": "m.a", "content": []}]}, "M_BAD_JSON"),
    Bad(
        "POST",
        "createRoom",
        {"initial_state": [{"type": "m.a", "content": {}, "state_key": 1}]},
        "M_BAD_JSON",
    ),
    Bad(
        "POST",
        "createRoom",
        {"initial_state": [{"type": "m.a", "content": {"a": 1.5}}]},
        "M_BAD_JSON",
    ),
    Bad(
        "POST",
        "createRoom",
        {"initial_state": [{"type": "m." + "a" * 255, "content": {}}]},
        "M_TOO_LARGE",
        413,
    ),
    Bad("POST", "createRoom", {"is_direct": "yes"}, "M_BAD_JSON"),
    Bad("POST", "createRoom", {"power_level_content_override": []}, "M_BAD_JSON"),
    Bad(
        "POST",
        "createRoom",
        {"power_level_content_override": {"users": []}},
        "M_INVALID_ROOM_STATE",
    ),
    Bad(
        "POST",
        "createRoom",
        {"power_level_content_override": {"ban": "lots"}},
        "M_INVALID_ROOM_STATE",
    ),
    Bad("POST", "createRoom", {"room_alias_name": ""}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"room_alias_name": "a:b"}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"room_alias_name": "a\0b"}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"room_alias_name": "a" * 300}, "M_INVALID_PARAM"),
    Bad("POST", "createRoom", {"room_alias_name": 1}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/join", {"reason": 1}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/join", [], "M_BAD_JSON"),
    Bad("POST", "rooms/room/join", {}, "M_INVALID_PARAM"),
    Bad("POST", "rooms/%23pub%3Ahs.example/join", {}, "M_INVALID_PARAM"),
    Bad("POST", "join/room", {}, "M_INVALID_PARAM"),
    Bad("POST", "join/%23pub", {}, "M_INVALID_PARAM"),
    Bad("POST", "join/%23a%00b%3Ahs.example", {}, "M_INVALID_PARAM"),
    Bad("POST", "join/{room}?via=not/a/server", {}, "M_INVALID_PARAM"),
    Bad("POST", "join/{room}?server_name=%2F", {}, "M_INVALID_PARAM"),
    Bad("POST", "knock/room", {}, "M_INVALID_PARAM"),
    Bad("POST", "knock/{room}", {"reason": []}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/invite", {}, "M_MISSING_PARAM"),
    Bad("POST", "rooms/{room}/invite", {"user_id": "bob"}, "M_INVALID_PARAM"),
    Bad("POST", "rooms/{room}/invite", {"user_id": 1}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/invite", {"user_id": BOB, "reason": 1}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/invite", ADDRESS, "M_SERVER_NOT_TRUSTED", 403),
    Bad("POST", "rooms/{room}/invite", {"medium": "email"}, "M_MISSING_PARAM"),
    Bad("POST", "rooms/{room}/kick", {}, "M_MISSING_PARAM"),
    Bad("POST", "rooms/{room}/kick", {"user_id": ""}, "M_INVALID_PARAM"),
    Bad("POST", "rooms/{room}/ban", {}, "M_MISSING_PARAM"),
    Bad("POST", "rooms/{room}/ban", {"user_id": "@" + "b" * 255}, "M_INVALID_PARAM"),
    Bad("POST", "rooms/{room}/unban", {"reason": "none"}, "M_MISSING_PARAM"),
    Bad("POST", "rooms/{room}/leave", {"reason": {}}, "M_BAD_JSON"),
    Bad("POST", "rooms/{room}/leave", {"reason": "r" * 66_000}, "M_TOO_LARGE", 413),
    Bad("POST", "rooms/!/forget", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/send/m.a/1", [], "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/send/m.a/1", "text", "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/send/m.a/1", {"a": 1.5}, "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/send/m.a/1", {"a": 2**53}, "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/send/m.a%00b/1", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/send/m.a/1%00", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/room/send/m.a/1", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/send/m.room.redaction/1", {}, "M_MISSING_PARAM"),
    Bad("PUT", "rooms/{room}/send/m.room.redaction/1", {"redacts": 1}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/send/m.room.redaction/1", {"redacts": "x"}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/redact/event/1", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/redact/{event}/1", {"reason": 1.5}, "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/state/m.a/k", [], "M_BAD_JSON"),
    Bad("PUT", "rooms/{room}/state/m.a/k%00", {}, "M_INVALID_PARAM"),
    Bad("PUT", "rooms/{room}/state/m.a/" + "k" * 256, {}, "M_TOO_LARGE", 413),
    Bad("PUT", "rooms/{room}/state/m.room.member/bob", {"membership": "ban"}, "M_INVALID_PARAM"),
    Bad("POST", "rooms/{room}/state/m.a/", {}, "M_UNRECOGNIZED", 405),
    Bad("PUT", "rooms/{room}/state/m.a/k/11", {}, "M_UNRECOGNIZED", 404),
    Bad("POST", "user/alice/filter", {}, "M_INVALID_PARAM"),
    Bad("POST", f"user/{quoted(ALICE)}/filter", [], "M_BAD_JSON"),
    Bad("PUT", "directory/room/alias", {"room_id": "{room}"}, "M_INVALID_PARAM"),
    Bad("PUT", "directory/room/%23a%3Ahs.example", {}, "M_MISSING_PARAM"),
    Bad("PUT", "directory/room/%23a%3Ahs.example", {"room_id": "x"}, "M_INVALID_PARAM"),
    Bad("PUT", "directory/room/%23a%3Ahs.example", {"room_id": 1}, "M_BAD_JSON"),
    Bad("DELETE", "directory/room/alias", None, "M_INVALID_PARAM"),
    Bad("PUT", "directory/list/room/{room}", {"visibility": "secret"}, "M_INVALID_PARAM"),
    Bad("PUT", "directory/list/room/{room}", {"visibility": None}, "M_BAD_JSON"),
]

QUERIES = [
    Bad("GET", "rooms/{room}/messages", None, "M_MISSING_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=x", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&limit=many", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&limit=-1", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&from=here", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&to=t1_1", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&from=t1_-9999999999", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&from=s9999999999999999999", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/messages?dir=b&filter=types", None, "M_BAD_JSON"),
    Bad("GET", "rooms/{room}/messages?dir=b&filter=[]", None, "M_BAD_JSON"),
    Bad("GET", 'rooms/{room}/messages?dir=b&filter={"types":1}', None, "M_BAD_JSON"),
    Bad("GET", "rooms/{room}/context/{event}?limit=x", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/context/{event}?limit=-1", None, "M_INVALID_PARAM"),
    Bad("GET", 'rooms/{room}/context/{event}?filter={"rooms":1}', None, "M_BAD_JSON"),
    Bad("GET", "rooms/{room}/context/event", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/event/event", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/members?membership=friend", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/members?not_membership=friend", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/members?at=now", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/room/members", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/room/joined_members", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/room/state", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/{room}/state/m.room.create/?format=pdu", None, "M_INVALID_PARAM"),
    Bad("GET", "rooms/room/aliases", None, "M_INVALID_PARAM"),
    Bad("GET", "directory/room/alias", None, "M_INVALID_PARAM"),
    Bad("GET", "directory/list/room/room", None, "M_INVALID_PARAM"),
    Bad("GET", "user/alice/filter/0", None, "M_INVALID_PARAM"),
]

# Whoever sends garbage instead of JSON is told so by every operation that takes a body.
GARBAGE = sorted({(bad.method, bad.path.split("?")[0]) for bad in BODIES if bad.body is not None})
MALFORMED = [b"{", b"{'a': 1}", b'{"a": NaN}', b"\xff", b"[" * 100_000]

ALL = {
    (bad.method, bad.path.split("?")[0])
    for bad in (*BODIES, *QUERIES)
    if bad.errcode != "M_UNRECOGNIZED"
}


@pytest.fixture
async def filled(alice):
    """A function that puts a real room and event into a path or a body."""
    room = await alice.creates_room()
    event = await alice.sends(room, "hello")

    def fill(path: str) -> str:
        return path.replace("{room}", quoted(room)).replace("{event}", quoted(event))

    return fill


@pytest.mark.parametrize("table", [BODIES, QUERIES], ids=["bodies", "queries"])
async def test_wrong_input_gets_the_error_code_that_says_so(alice, filled, table):
    unexpected = []
    for bad in table:
        answer = await answer_of(alice.request(bad.method, filled(bad.path), bad.body))
        if answer != (bad.status, bad.errcode):
            unexpected.append((bad.method, bad.path, str(bad.body)[:80], answer))
    assert unexpected == []


async def test_what_is_no_json_is_told_from_json_of_the_wrong_shape(alice, filled):
    unexpected = []
    for method, path in GARBAGE:
        for raw in MALFORMED:
            answer = await answer_of(alice.request(method, filled(path), raw=raw))
            if answer not in (
                (400, "M_NOT_JSON"),
                (400, "M_BAD_JSON"),
                # The path was wrong before the body was read.
                (400, "M_INVALID_PARAM"),
                (404, "M_UNRECOGNIZED"),
                (405, "M_UNRECOGNIZED"),
            ):
                unexpected.append((method, path, raw[:20], answer))
    assert unexpected == []


async def test_a_token_is_needed_but_for_looking_things_up(clients, filled):
    nobody = clients.nobody()
    open_to_all = {("GET", "directory/room/alias"), ("GET", "directory/list/room/room")}
    for method, path in sorted(ALL):
        answer = await answer_of(nobody.request(method, filled(path), {}))
        if (method, path) in open_to_all:
            assert answer == (400, "M_INVALID_PARAM")
        else:
            assert answer == (401, "M_MISSING_TOKEN"), (method, path)


async def test_nothing_was_written_by_any_of_it(alice, filled):
    room = (await alice.joined_rooms())[0]
    before = await alice.reads_messages(room, limit=100)
    for bad in BODIES:
        await answer_of(alice.request(bad.method, filled(bad.path), bad.body))
    after = await alice.reads_messages(room, limit=100)
    assert [e["event_id"] for e in after["chunk"]] == [e["event_id"] for e in before["chunk"]]
    assert await alice.joined_rooms() == [room]
