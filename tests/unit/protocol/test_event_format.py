import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.canonical_json import MAX_INTEGER, encode_canonical
from homeserver.protocol.errors import EventTooLarge, InvalidEvent, InvalidJson
from homeserver.protocol.event_format import (
    MAX_EVENT_BYTES,
    client_event_size_check,
    event_from_pdu,
)
from homeserver.protocol.hashing import event_id_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of

VECTORS = json.loads((Path(__file__).parent / "vectors/event_ids.json").read_text())
HASH = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"
MISSING = object()
WITH_PAIRS = ["1", "2"]
WITH_IDS = [version for version in ROOM_VERSIONS if version not in WITH_PAIRS]
BEFORE_V12 = [version for version in ROOM_VERSIONS if version != "12"]
STRICT = [version for version in ROOM_VERSIONS if int(version) >= 6]
LENIENT = [version for version in ROOM_VERSIONS if int(version) <= 5]

REQUIRED_KEYS = [
    "type",
    "sender",
    "room_id",
    "content",
    "depth",
    "origin_server_ts",
    "prev_events",
    "auth_events",
    "hashes",
    "signatures",
]

every_version = pytest.mark.parametrize("version", ROOM_VERSIONS)


def valid_pdu(version, **changes):
    pdu = {
        "type": "m.room.message",
        "sender": "@alice:example.org",
        "room_id": f"!{HASH}" if version == "12" else "!room:example.org",
        "content": {"body": "hi"},
        "depth": 12,
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": references(version, 1),
        "auth_events": references(version, 3),
        "hashes": {"sha256": "x" * 43},
        "signatures": {"example.org": {"ed25519:a": "y" * 86}},
        **({"event_id": "$opaque:example.org"} if version in WITH_PAIRS else {}),
        **changes,
    }
    return {key: value for key, value in pdu.items() if value is not MISSING}


def references(version, count):
    if version in WITH_PAIRS:
        return [[f"${number}:example.org", {"sha256": "x" * 43}] for number in range(count)]
    return [f"${number:043}" for number in range(count)]


def padded_to(size, version, **changes):
    pdu = valid_pdu(version, content={"body": ""}, **changes)
    pdu["content"]["body"] = "x" * (size - len(encode_canonical(pdu)))
    return pdu


@every_version
def test_events_of_other_libraries_are_read_whole(version):
    pdu = VECTORS["events"][version]
    before = deepcopy(pdu)

    event = event_from_pdu(pdu, rules_of(version))

    assert pdu == before
    assert event.event_id == VECTORS["event_ids"][version]
    assert event.room_version == version
    assert event.room_id == pdu["room_id"]
    assert event.type == "m.room.member"
    assert event.sender == event.state_key == "@alice:domain"
    assert event.content == pdu["content"]
    assert event.depth == 7
    assert event.origin_server_ts == 1_700_000_000_000 + int(version)
    expected = pdu["prev_events"] if int(version) > 2 else ["$af232176:domain"]
    assert list(event.prev_events) == list(event.auth_events) == expected
    assert event.redacts is None
    assert event.pdu is pdu


@every_version
def test_an_event_without_a_state_key_is_no_state_event(version):
    assert event_from_pdu(valid_pdu(version), rules_of(version)).state_key is None
    event = event_from_pdu(valid_pdu(version, state_key=""), rules_of(version))
    assert event.state_key == ""


@every_version
@pytest.mark.parametrize("pdu", [None, [], "x", 1, [valid_pdu("10")]])
def test_what_is_no_object_is_no_event(version, pdu):
    with pytest.raises(InvalidEvent):
        event_from_pdu(pdu, rules_of(version))


@every_version
@pytest.mark.parametrize("key", REQUIRED_KEYS)
@pytest.mark.parametrize("value", [MISSING, None, True, 1.0, [1], [None], "\ud800"])
def test_required_keys_are_there_and_of_their_type(version, key, value):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, **{key: value}), rules_of(version))


@every_version
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", {}),
        ("type", 5),
        ("type", "nul\0"),
        ("state_key", None),
        ("state_key", 5),
        ("state_key", {}),
        ("state_key", "nul\0"),
        ("content", "text"),
        ("content", []),
        ("unsigned", None),
        ("unsigned", []),
        ("unsigned", "x"),
        ("sender", ""),
        ("sender", "alice"),
        ("sender", "@alice"),
        ("sender", "@alice:"),
        ("sender", "@alice:bad_server"),
        ("sender", "@nul\0:example.org"),
        ("room_id", ""),
        ("room_id", "#room:example.org"),
        ("room_id", "!room"),
        ("room_id", "!room:bad_server"),
        ("depth", -1),
        ("depth", "1"),
        ("depth", 2**63),
        ("origin_server_ts", "1"),
        ("origin_server_ts", 2**63),
        ("origin_server_ts", -(2**63) - 1),
        ("hashes", {}),
        ("hashes", {"sha256": 1}),
        ("hashes", {"md5": "x"}),
        ("hashes", "x"),
        ("signatures", "x"),
        ("signatures", {"example.org": "x"}),
        ("signatures", {"example.org": None}),
        ("signatures", {"example.org": {"ed25519:a": 1}}),
        ("signatures", {"good.org": {"ed25519:a": "x"}, "bad.org": {"ed25519:a": None}}),
        ("prev_events", {}),
        ("prev_events", "x"),
        ("prev_events", [{}]),
        ("prev_events", [[]]),
        ("prev_events", ["x"]),
        ("prev_events", ["$"]),
        ("prev_events", ["$nul\0"]),
        ("auth_events", ["!x:example.org"]),
        ("auth_events", [["$x:example.org"]]),
        ("auth_events", [["$x:example.org", "hash"]]),
        ("auth_events", [["$x:example.org", {}, {}]]),
        ("auth_events", [[1, {}]]),
        ("auth_events", [["x", {}]]),
    ],
)
def test_malformed_values_are_refused(version, key, value):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, **{key: value}), rules_of(version))


@pytest.mark.parametrize("version", WITH_PAIRS)
@pytest.mark.parametrize("key", ["prev_events", "auth_events"])
def test_the_first_versions_refer_by_pairs(version, key):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, **{key: references("3", 1)}), rules_of(version))


@pytest.mark.parametrize("version", WITH_IDS)
@pytest.mark.parametrize("key", ["prev_events", "auth_events"])
def test_later_versions_refer_by_event_id(version, key):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, **{key: references("1", 1)}), rules_of(version))


@every_version
@pytest.mark.parametrize(("key", "limit"), [("prev_events", 20), ("auth_events", 10)])
def test_references_are_limited_in_number(version, key, limit):
    event = event_from_pdu(
        valid_pdu(version, **{key: references(version, limit)}), rules_of(version)
    )

    assert len(getattr(event, key)) == limit
    with pytest.raises(InvalidEvent):
        event_from_pdu(
            valid_pdu(version, **{key: references(version, limit + 1)}), rules_of(version)
        )


@every_version
def test_an_event_may_have_no_references_and_depth_0(version):
    event = event_from_pdu(
        valid_pdu(version, prev_events=[], auth_events=[], depth=0), rules_of(version)
    )

    assert event.prev_events == event.auth_events == ()
    assert event.depth == 0


@pytest.mark.parametrize("version", WITH_PAIRS)
@pytest.mark.parametrize(
    "event_id", [MISSING, None, 1, "", "$x", f"${HASH}", "$x:bad_server", "!x:example.org"]
)
def test_the_first_versions_need_an_event_id_with_a_domain(version, event_id):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, event_id=event_id), rules_of(version))


@pytest.mark.parametrize("version", WITH_IDS)
@pytest.mark.parametrize("claim", ["$claimed:example.org", f"${HASH}", 5])
def test_later_versions_compute_the_event_id_over_any_claim(version, claim):
    pdu = valid_pdu(version, event_id=claim)

    event = event_from_pdu(pdu, rules_of(version))

    assert event.event_id == event_id_of(pdu, rules_of(version)) != claim
    assert event.pdu["event_id"] == claim


@pytest.mark.parametrize("version", BEFORE_V12)
def test_room_ids_have_a_domain_before_version_12(version):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, room_id=f"!{HASH}"), rules_of(version))


def test_room_ids_have_no_domain_in_version_12():
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu("12", room_id="!room:example.org"), rules_of("12"))


def test_the_create_event_of_version_12_gives_the_room_its_id():
    pdu = valid_pdu("12", type="m.room.create", state_key="", room_id=MISSING)

    event = event_from_pdu(pdu, rules_of("12"))

    assert event.room_id[1:] == event.event_id[1:]
    assert event.room_id[0] == "!"
    assert "room_id" not in event.pdu


def test_the_create_event_of_version_12_cannot_name_a_room():
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu("12", type="m.room.create", state_key=""), rules_of("12"))


@pytest.mark.parametrize("version", STRICT)
@pytest.mark.parametrize("value", [1.5, 1.0, MAX_INTEGER + 1, -MAX_INTEGER - 1])
@pytest.mark.parametrize("key", ["content", "unsigned"])
def test_loose_numbers_are_refused_from_version_6_on(version, value, key):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, **{key: {"x": [value]}}), rules_of(version))


@pytest.mark.parametrize("version", LENIENT)
@pytest.mark.parametrize("value", [1.5, 1.0, MAX_INTEGER + 1, -(2**70)])
def test_loose_numbers_are_accepted_before_version_6(version, value):
    event = event_from_pdu(valid_pdu(version, content={"x": value}), rules_of(version))

    assert event.content == {"x": value}


@every_version
def test_depth_goes_up_to_the_limit_of_the_version(version):
    limit = 2**53 - 1 if version in STRICT else 2**63 - 1

    assert event_from_pdu(valid_pdu(version, depth=limit), rules_of(version)).depth == limit
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, depth=limit + 1), rules_of(version))


@every_version
@pytest.mark.parametrize("content", [{"x": float("nan")}, {"x": "\ud800"}, {"x": object()}])
def test_what_has_no_encoding_is_refused(version, content):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, content=content), rules_of(version))
    with pytest.raises(InvalidJson):
        client_event_size_check(valid_pdu(version, content=content), rules_of(version))


@every_version
def test_a_whole_event_has_at_most_65536_bytes(version):
    rules = rules_of(version)

    assert event_from_pdu(padded_to(65_536, version), rules).type == "m.room.message"
    with pytest.raises(EventTooLarge):
        event_from_pdu(padded_to(65_537, version), rules)
    with pytest.raises(EventTooLarge):
        client_event_size_check(padded_to(65_537, version), rules)


@pytest.mark.parametrize("part", ["signatures", "unsigned"])
def test_signatures_and_unsigned_count_for_the_size(part):
    pdu = padded_to(MAX_EVENT_BYTES, "10", unsigned={"age": 1})
    longer = {**pdu, part: {**pdu[part], "another.org": {"ed25519:b": "z"}}}

    event_from_pdu(pdu, rules_of("10"))
    with pytest.raises(EventTooLarge):
        event_from_pdu(longer, rules_of("10"))


@every_version
@pytest.mark.parametrize("key", ["type", "state_key"])
@pytest.mark.parametrize("character", ["x", "ä", "日", "😀"])
def test_type_and_state_key_have_at_most_255_bytes(version, key, character):
    size = len(character.encode())
    longest = character * (255 // size) + "x" * (255 % size)

    event = event_from_pdu(valid_pdu(version, **{key: longest}), rules_of(version))

    assert getattr(event, key) == longest
    with pytest.raises(EventTooLarge):
        event_from_pdu(valid_pdu(version, **{key: longest + "x"}), rules_of(version))


@every_version
@pytest.mark.parametrize(("key", "sigil"), [("sender", "@"), ("room_id", "!"), ("event_id", "$")])
def test_identifiers_over_255_bytes_are_too_large(version, key, sigil):
    too_long = f"{sigil}{'x' * 243}:example.org"

    assert len(too_long) == 256
    with pytest.raises(EventTooLarge):
        event_from_pdu(valid_pdu(version, **{key: too_long}), rules_of(version))


@pytest.mark.parametrize("version", [v for v in ROOM_VERSIONS if int(v) <= 10])
def test_redactions_before_version_11_name_their_target_at_the_top(version):
    pdu = valid_pdu(version, type="m.room.redaction", redacts="$x", content={"redacts": "$y"})

    assert event_from_pdu(pdu, rules_of(version)).redacts == "$x"


@pytest.mark.parametrize("version", ["11", "12"])
def test_redactions_from_version_11_on_name_their_target_in_the_content(version):
    pdu = valid_pdu(version, type="m.room.redaction", redacts="$x", content={"redacts": "$y"})

    assert event_from_pdu(pdu, rules_of(version)).redacts == "$y"


@every_version
def test_other_events_redact_nothing(version):
    pdu = valid_pdu(version, redacts="$x", content={"redacts": "$y"})

    assert event_from_pdu(pdu, rules_of(version)).redacts is None


@every_version
@pytest.mark.parametrize(
    "target", [MISSING, "", "x", "$", "!x:example.org", "$nul\0", "$" + "x" * 255]
)
def test_a_redaction_of_no_event_id_redacts_nothing(version, target):
    content = {} if target is MISSING else {"redacts": target}
    pdu = valid_pdu(version, type="m.room.redaction", redacts=target, content=content)

    assert event_from_pdu(pdu, rules_of(version)).redacts is None


@pytest.mark.parametrize("version", [v for v in ROOM_VERSIONS if int(v) <= 10])
@pytest.mark.parametrize("target", [None, 5, ["$x"]])
def test_redacts_is_a_string_before_version_11(version, target):
    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, redacts=target), rules_of(version))


@pytest.mark.parametrize("version", ["11", "12"])
@pytest.mark.parametrize("target", [None, 5, ["$x"]])
def test_redacts_at_the_top_means_nothing_from_version_11_on(version, target):
    pdu = valid_pdu(version, type="m.room.redaction", redacts=target, content={"redacts": target})

    assert event_from_pdu(pdu, rules_of(version)).redacts is None


@every_version
def test_keys_that_nobody_knows_are_kept(version):
    pdu = valid_pdu(version, unsigned={"age": 1}, **{"org.example": {"x": [None]}})

    assert event_from_pdu(pdu, rules_of(version)).pdu == pdu


@every_version
def test_nesting_beyond_reason_is_refused(version):
    value = []
    for _ in range(2_000):
        value = [value]

    with pytest.raises(InvalidEvent):
        event_from_pdu(valid_pdu(version, content={"x": value}), rules_of(version))


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(list(ROOM_VERSIONS)),
    st.dictionaries(
        st.sampled_from([*valid_pdu("1"), "state_key", "redacts", "unsigned"]), ANYTHING
    ),
)
def test_hostile_values_are_either_an_event_or_refused(version, changes):
    pdu = valid_pdu(version, **changes)
    try:
        event = event_from_pdu(pdu, rules_of(version))
    except InvalidEvent:
        return
    assert event.pdu == pdu
