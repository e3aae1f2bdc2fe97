import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.client_event import (
    client_event,
    decode_pdu,
    join_pdu,
    split_event,
    split_pdu,
    stripped_state_event,
)
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIDFormat, rules_of

ROOM = RoomID("!room:example.org")
EVENT = EventID("$event")
V1, V10, V11, V12 = (rules_of(version) for version in ("1", "10", "11", "12"))


def a_pdu(**changes):
    pdu = {
        "auth_events": ["$a", "$b"],
        "content": {"body": "hi", "msgtype": "m.text"},
        "depth": 7,
        "hashes": {"sha256": "abc"},
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": ["$p"],
        "room_id": ROOM,
        "sender": "@alice:example.org",
        "signatures": {"example.org": {"ed25519:1": "sig"}},
        "type": "m.room.message",
    }
    pdu.update(changes)
    return {name: value for name, value in pdu.items() if value is not None}


def shown(pdu, rules, **extra):
    core, _ = split_pdu(pdu, rules)
    return json.loads(client_event(core, event_id=EVENT, **extra))


def joined(pdu, rules, event_id=EVENT):
    core, rest = split_pdu(pdu, rules)
    return json.loads(join_pdu(core, rest, room_id=ROOM, event_id=event_id, rules=rules))


def test_the_core_holds_what_clients_see_and_the_rest_what_only_servers_see():
    core, rest = split_pdu(a_pdu(state_key=""), V10)
    assert list(json.loads(core)) == ["content", "origin_server_ts", "sender", "state_key", "type"]
    assert list(json.loads(rest)) == [
        "auth_events",
        "depth",
        "hashes",
        "prev_events",
        "signatures",
    ]


def test_an_event_is_split_like_its_pdu():
    pdu = a_pdu()
    event = Event(
        event_id=EVENT,
        room_id=ROOM,
        room_version="10",
        type=pdu["type"],
        sender=UserID(pdu["sender"]),
        content=pdu["content"],
        origin_server_ts=pdu["origin_server_ts"],
        depth=7,
        prev_events=(EventID("$p"),),
        auth_events=(EventID("$a"), EventID("$b")),
        pdu=pdu,
    )
    assert split_event(event, V10) == split_pdu(pdu, V10)


@pytest.mark.parametrize("version", sorted(ROOM_VERSIONS))
def test_join_is_the_inverse_of_split(version):
    rules = rules_of(version)
    has_id = rules.event_id_format is EventIDFormat.SERVER_CHOSEN
    for changes in (
        {},
        {"state_key": "", "type": "m.room.create"},
        {"state_key": "", "type": "m.room.create", "room_id": None},
        {"type": "m.room.redaction", "redacts": "$x"},
        {"redacts": "$x"},
        {"unsigned": {"age": 3}, "origin": "example.org"},
    ):
        if "room_id" in changes and not rules.room_id_is_create_hash:
            continue
        pdu = a_pdu(**changes, event_id=EVENT if has_id else None)
        core, rest = split_pdu(pdu, rules)
        assert joined(pdu, rules) == pdu
        assert decode_pdu(core, rest, room_id=ROOM, event_id=EVENT, rules=rules) == pdu


def test_a_version_12_create_event_gets_no_room_id_on_the_wire():
    pdu = a_pdu(type="m.room.create", state_key="", room_id=None)
    assert "room_id" not in joined(pdu, V12)
    assert "room_id" in joined(a_pdu(type="m.room.create", state_key=""), V11)


def test_a_member_that_does_not_belong_into_the_pdu_survives_for_the_hash():
    pdu = a_pdu(event_id="$claimed")
    assert joined(pdu, V11)["event_id"] == "$claimed"


def test_an_empty_rest_leaves_no_stray_comma():
    core, rest = split_pdu({"content": {}, "sender": "@a:b", "type": "x"}, V10)
    assert rest == b"{}"
    wire = json.loads(join_pdu(core, rest, room_id=ROOM, event_id=EVENT, rules=V10))
    assert wire == {"content": {}, "room_id": ROOM, "sender": "@a:b", "type": "x"}


def test_a_type_that_only_looks_like_create_is_an_ordinary_type():
    pdu = a_pdu(type='x","type":"m.room.create')
    assert joined(pdu, V12) == pdu


def test_sync_form_has_no_room_id():
    assert shown(a_pdu(), V11) == {
        "content": {"body": "hi", "msgtype": "m.text"},
        "event_id": EVENT,
        "origin_server_ts": 1_700_000_000_000,
        "sender": "@alice:example.org",
        "type": "m.room.message",
    }


def test_room_id_and_unsigned_are_added_on_request():
    event = shown(a_pdu(), V11, room_id=ROOM, unsigned=b'{"age":5}')
    assert event["room_id"] == ROOM
    assert event["unsigned"] == {"age": 5}


def test_identifiers_with_special_characters_are_escaped():
    core, rest = split_pdu(a_pdu(event_id="x"), V1)
    odd_room, odd_event = RoomID('!"\\:example.org'), EventID('$"\n:example.org')
    event = json.loads(client_event(core, event_id=odd_event, room_id=odd_room))
    assert (event["event_id"], event["room_id"]) == (odd_event, odd_room)
    wire = json.loads(join_pdu(core, rest, room_id=odd_room, event_id=odd_event, rules=V1))
    assert (wire["event_id"], wire["room_id"]) == (odd_event, odd_room)


@pytest.mark.parametrize(
    ("rules", "changes", "top", "inner"),
    [
        (V10, {"redacts": "$x", "content": {}}, "$x", "$x"),
        (V10, {"redacts": "$x", "content": {"redacts": "$lie", "n": 1}}, "$x", "$x"),
        (V10, {"content": {}}, None, None),  # a redacted redaction
        (V11, {"content": {"redacts": "$x"}}, "$x", "$x"),
        (V11, {"content": {"redacts": "$x"}, "redacts": "$lie"}, "$x", "$x"),
        (V11, {"content": {}, "state_key": ""}, None, None),
    ],
)
def test_a_redaction_names_its_target_in_both_places(rules, changes, top, inner):
    event = shown(a_pdu(type="m.room.redaction", **changes), rules)
    assert event.get("redacts") == top
    assert event["content"].get("redacts") == inner
    assert ("state_key" in event) == ("state_key" in changes)


def test_showing_a_redaction_keeps_every_other_value_as_it_was():
    content = {"redacts": "$x", "reason": "é", "n": 2**70, "deep": [{"a": None}]}
    event = shown(a_pdu(type="m.room.redaction", content=content), V11)
    assert event["content"] == content


def test_redacts_of_an_ordinary_event_is_not_shown_to_clients():
    assert "redacts" not in shown(a_pdu(redacts="$x"), V10)


def test_stripped_state_has_exactly_four_members():
    content = {"name": 'tricky ,"origin_server_ts":1,"sender":"x"'}
    core, _ = split_pdu(a_pdu(type="m.room.name", state_key="", content=content), V11)
    assert json.loads(stripped_state_event(core)) == {
        "content": content,
        "sender": "@alice:example.org",
        "state_key": "",
        "type": "m.room.name",
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=3)
    ),
    max_leaves=8,
)
json_objects = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",))), json_values, max_size=4
)


@given(
    content=json_objects,
    extra=json_objects,
    version=st.sampled_from(sorted(ROOM_VERSIONS)),
    event_type=st.sampled_from(["m.room.create", "m.room.redaction", "m.room.message"])
    | st.text(st.characters(exclude_categories=("Cs",))),
)
def test_any_pdu_survives_storage(content, extra, version, event_type):
    rules = rules_of(version)
    pdu = {"room_id": ROOM} | extra | a_pdu(content=content, type=event_type)
    if rules.event_id_format is EventIDFormat.SERVER_CHOSEN:
        pdu["event_id"] = EVENT
    core, rest = split_pdu(pdu, rules)
    assert msgspec.json.decode(core)["type"] == event_type
    assert joined(pdu, rules) == pdu
    assert decode_pdu(core, rest, room_id=ROOM, event_id=EVENT, rules=rules) == pdu
    event = json.loads(client_event(core, event_id=EVENT, room_id=ROOM))
    assert event["event_id"] == EVENT
    assert {**event["content"], "redacts": 0} == {**content, "redacts": 0}
