import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.edu import (
    DeviceListUpdate,
    DirectToDevice,
    InvalidEdu,
    Presence,
    PresenceUpdate,
    Receipt,
    Receipts,
    SigningKeyUpdate,
    Typing,
    edu_to_json,
    group_receipts,
    parse_edu,
)
from homeserver.protocol.identifiers import DeviceID, EventID, RoomID, ServerName, UserID

ORIGIN = ServerName("matrix.org")
JOHN = UserID("@john:matrix.org")
ROOM = RoomID("!somewhere:matrix.org")
FOREIGN = "@eve:evil.example"

# The examples of server-server-api/, one of each type, and what they mean.
SPECIFIED = [
    (
        {
            "edu_type": "m.typing",
            "content": {"room_id": ROOM, "user_id": JOHN, "typing": True},
        },
        Typing(ROOM, JOHN, True),
    ),
    (
        {
            "edu_type": "m.presence",
            "content": {
                "push": [
                    {
                        "user_id": JOHN,
                        "presence": "online",
                        "status_msg": "Making cupcakes",
                        "last_active_ago": 5000,
                        "currently_active": True,
                    }
                ]
            },
        },
        Presence((PresenceUpdate(JOHN, "online", 5000, "Making cupcakes", True),)),
    ),
    (
        {
            "edu_type": "m.receipt",
            "content": {
                "!some_room:example.org": {
                    "m.read": {
                        JOHN: {
                            "event_ids": ["$read_this_event:matrix.org"],
                            "data": {"ts": 1533358089009, "thread_id": "main"},
                        }
                    }
                }
            },
        },
        Receipts(
            (
                Receipt(
                    RoomID("!some_room:example.org"),
                    JOHN,
                    EventID("$read_this_event:matrix.org"),
                    1533358089009,
                    "main",
                ),
            )
        ),
    ),
    (
        {
            "edu_type": "m.device_list_update",
            "content": {
                "user_id": JOHN,
                "device_id": "QBUAZIFURK",
                "device_display_name": "Mobile",
                "stream_id": 6,
                "prev_id": [5],
                "keys": {"user_id": JOHN},
            },
        },
        DeviceListUpdate(JOHN, DeviceID("QBUAZIFURK"), 6, (5,), "Mobile", keys={"user_id": JOHN}),
    ),
    (
        {
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": JOHN,
                "type": "m.room_key_request",
                "message_id": "hiezohf6Hoo7kaev",
                "messages": {"@alice:example.org": {"IWHQUZUIAH": {"a": 1}, "*": {}}},
            },
        },
        DirectToDevice(
            JOHN,
            "m.room_key_request",
            "hiezohf6Hoo7kaev",
            {UserID("@alice:example.org"): {DeviceID("IWHQUZUIAH"): {"a": 1}, DeviceID("*"): {}}},
        ),
    ),
    (
        {
            "edu_type": "m.signing_key_update",
            "content": {"user_id": JOHN, "master_key": {"usage": ["master"]}},
        },
        SigningKeyUpdate(JOHN, master_key={"usage": ["master"]}),
    ),
]


@pytest.mark.parametrize(("envelope", "edu"), SPECIFIED)
def test_every_edu_of_the_specification_is_read_and_written(envelope, edu):
    assert parse_edu(envelope, ORIGIN) == edu
    assert edu_to_json(edu) == envelope


def test_what_is_absent_is_not_written():
    assert edu_to_json(DeviceListUpdate(JOHN, DeviceID("D"), 1, deleted=True))["content"] == {
        "user_id": JOHN,
        "device_id": "D",
        "stream_id": 1,
        "deleted": True,
    }
    update = PresenceUpdate(JOHN, "offline")
    assert edu_to_json(Presence((update,)))["content"] == {
        "push": [{"user_id": JOHN, "presence": "offline"}]
    }
    receipt = Receipt(ROOM, JOHN, EventID("$e"), 5)
    assert edu_to_json(Receipts((receipt,)))["content"][ROOM]["m.read"][JOHN]["data"] == {"ts": 5}


def test_an_unknown_type_is_ignored():
    assert parse_edu({"edu_type": "org.example", "content": {}}, ORIGIN) is None


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        {},
        {"edu_type": "m.typing"},
        {"edu_type": 1, "content": {}},
        {"edu_type": "m.typing", "content": []},
        {"edu_type": "m.typing", "content": {"room_id": ROOM, "user_id": JOHN}},
        {"edu_type": "m.typing", "content": {"room_id": ROOM, "user_id": JOHN, "typing": 1}},
        {"edu_type": "m.typing", "content": {"room_id": "room", "user_id": JOHN, "typing": True}},
        {"edu_type": "m.typing", "content": {"room_id": ROOM, "user_id": "john", "typing": True}},
        {"edu_type": "m.presence", "content": {}},
        {"edu_type": "m.presence", "content": {"push": {}}},
        {"edu_type": "m.device_list_update", "content": {"user_id": JOHN, "device_id": "D"}},
        {
            "edu_type": "m.device_list_update",
            "content": {"user_id": JOHN, "device_id": "", "stream_id": 1},
        },
        {
            "edu_type": "m.device_list_update",
            "content": {"user_id": JOHN, "device_id": "D", "stream_id": 2**63},
        },
        {"edu_type": "m.signing_key_update", "content": {}},
    ],
)
def test_an_edu_against_its_schema_is_refused(envelope):
    with pytest.raises(InvalidEdu):
        parse_edu(envelope, ORIGIN)


@pytest.mark.parametrize(
    ("edu_type", "content"),
    [
        ("m.typing", {"room_id": ROOM, "user_id": FOREIGN, "typing": True}),
        ("m.device_list_update", {"user_id": FOREIGN, "device_id": "D", "stream_id": 1}),
        ("m.signing_key_update", {"user_id": FOREIGN}),
        (
            "m.direct_to_device",
            {"sender": FOREIGN, "type": "t", "message_id": "m", "messages": {}},
        ),
    ],
)
def test_a_server_does_not_speak_for_the_users_of_others(edu_type, content):
    with pytest.raises(InvalidEdu):
        parse_edu({"edu_type": edu_type, "content": content}, ORIGIN)


def test_presence_of_foreign_users_and_broken_updates_are_dropped():
    good = {"user_id": JOHN, "presence": "online"}
    updates = [
        good | {"user_id": FOREIGN},
        good | {"presence": "sleepy"},
        good | {"last_active_ago": -1},
        {"user_id": "john", "presence": "online"},
        "text",
        good,
    ]
    edu = parse_edu({"edu_type": "m.presence", "content": {"push": updates}}, ORIGIN)
    assert edu == Presence((PresenceUpdate(JOHN, "online"),))


def test_broken_and_foreign_receipts_are_dropped():
    good = {"event_ids": ["$e"], "data": {"ts": 1, "thread_id": "$root"}}
    by_user = {
        FOREIGN: good,
        "john": good,
        "@none:matrix.org": {"event_ids": [], "data": {"ts": 1}},
        "@two:matrix.org": {"event_ids": ["$a", "$b"], "data": {"ts": 1}},
        "@odd:matrix.org": {"event_ids": ["e"], "data": {"ts": 1}},
        "@thread:matrix.org": {"event_ids": ["$e"], "data": {"ts": 1, "thread_id": "x"}},
        "@timeless:matrix.org": {"event_ids": ["$e"], "data": {}},
        JOHN: good,
    }
    content = {
        ROOM: {"m.read": by_user, "m.read.private": {JOHN: good}},
        "no room": {"m.read": {JOHN: good}},
        "!a:b": {"m.read": []},
        "!c:d": [],
    }
    edu = parse_edu({"edu_type": "m.receipt", "content": content}, ORIGIN)
    assert edu == Receipts((Receipt(ROOM, JOHN, EventID("$e"), 1, "$root"),))


def test_receipts_of_one_user_in_one_room_need_an_edu_each():
    main, thread = (Receipt(ROOM, JOHN, EventID("$e"), 1, name) for name in ("main", "$root"))
    other = Receipt(RoomID("!o:x"), JOHN, EventID("$e"), 1)
    groups = group_receipts([main, thread, other])
    assert groups == [Receipts((main, other)), Receipts((thread,))]
    assert [parse_edu(edu_to_json(group), ORIGIN) for group in groups] == groups
    assert group_receipts([]) == []


def test_messages_to_devices_that_are_no_objects_are_dropped():
    content = {
        "sender": JOHN,
        "type": "t",
        "message_id": "m" * 255,
        "messages": {"@a:b": {"D": {"x": 1}, "E": "text"}, "@c:d": {"F": []}, "@e:f": "text"},
    }
    edu = parse_edu({"edu_type": "m.direct_to_device", "content": content}, ORIGIN)
    assert edu.messages == {"@a:b": {"D": {"x": 1}}}


@pytest.mark.parametrize(
    "changes",
    [{"type": "\0"}, {"message_id": "\0"}, {"message_id": "m" * 256}, {"messages": []}],
)
def test_a_message_to_devices_that_cannot_be_stored_is_refused(changes):
    content = {"sender": JOHN, "type": "t", "message_id": "m", "messages": {}} | changes
    with pytest.raises(InvalidEdu):
        parse_edu({"edu_type": "m.direct_to_device", "content": content}, ORIGIN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.sampled_from([envelope for envelope, _ in SPECIFIED]),
    st.dictionaries(
        st.sampled_from(["user_id", "room_id", "push", "messages", "stream_id", "keys", ROOM]),
        json_values,
    ),
)
def test_nothing_but_a_refusal_comes_of_hostile_content(envelope, changes):
    hostile = envelope | {"content": envelope["content"] | changes}
    try:
        edu = parse_edu(hostile, ORIGIN)
    except InvalidEdu:
        return
    assert (
        msgspec.json.encode(edu_to_json(edu))
        == json.dumps(edu_to_json(edu), separators=(",", ":"), ensure_ascii=False).encode()
    )
