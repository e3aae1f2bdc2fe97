from copy import deepcopy
from hashlib import sha256

import pytest
import signedjson.key
import signedjson.sign
import unpaddedbase64
from canonicaljson import encode_canonical_json
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.canonical_json import MAX_INTEGER, decode_json, encode_canonical
from homeserver.protocol.errors import EventTooLarge, InvalidEvent, InvalidJson
from homeserver.protocol.event_builder import EventDraft, build_event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.hashing import has_valid_content_hash
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of
from homeserver.protocol.signing import signing_key_from_seed

HASH = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"
SERVER = ServerName("example.org")
KEY = signing_key_from_seed("a_Xyz9", bytes(range(32)))
ORACLE_KEY = signedjson.key.decode_verify_key_base64("ed25519", "a_Xyz9", KEY.verify_key)
WITH_PAIRS = ["1", "2"]
STRICT = [version for version in ROOM_VERSIONS if int(version) >= 6]
LENIENT = [version for version in ROOM_VERSIONS if int(version) <= 5]

every_version = pytest.mark.parametrize("version", ROOM_VERSIONS)


def room_id_in(version):
    return RoomID(f"!{HASH}" if version == "12" else "!room:example.org")


def draft_in(version, **changes):
    fields = {
        "type": "m.room.message",
        "sender": UserID("@alice:example.org"),
        "content": {"body": "hi"},
        "room_id": room_id_in(version),
        **changes,
    }
    return EventDraft(**fields)


def build(version, draft=None, **changes):
    prev, auth = EventID("$prev:example.org"), EventID("$auth:example.org")
    options = {
        "prev_events": [prev],
        "auth_events": [auth],
        "depth": 12,
        "origin_server_ts": 1_700_000_000_000,
        "server_name": SERVER,
        "signing_key": KEY,
        **({"opaque_id": "opaque"} if version in WITH_PAIRS else {}),
        **({"reference_hashes": {prev: "p" * 43, auth: "a" * 43}} if version in WITH_PAIRS else {}),
        **changes,
    }
    return build_event(draft or draft_in(version), rules=rules_of(version), **options)


@every_version
@pytest.mark.parametrize("state_key", [None, "", "@bob:example.org"])
@pytest.mark.parametrize("unsigned", [None, {"age": 4}])
def test_another_server_reads_the_event_as_we_built_it(version, state_key, unsigned):
    event = build(version, draft_in(version, state_key=state_key), unsigned=unsigned)

    received = event_from_pdu(decode_json(encode_canonical(event.pdu)), rules_of(version))

    assert received == event
    assert received.state_key == state_key
    assert received.pdu.get("unsigned") == unsigned


@every_version
def test_the_content_hash_is_valid(version):
    event = build(version)

    unhashed = {k: v for k, v in event.pdu.items() if k not in ("hashes", "signatures")}
    digest = sha256(encode_canonical_json(unhashed)).digest()
    assert event.pdu["hashes"] == {"sha256": unpaddedbase64.encode_base64(digest)}
    assert has_valid_content_hash(event.pdu, rules_of(version))


@every_version
def test_the_signature_is_valid(version):
    event = build(version, unsigned={"age": 1})

    assert list(event.pdu["signatures"]) == [SERVER]
    redacted = redact(event.pdu, rules_of(version))
    signedjson.sign.verify_signed_json(redacted, SERVER, ORACLE_KEY)


@pytest.mark.parametrize("version", [v for v in ROOM_VERSIONS if v not in WITH_PAIRS])
def test_the_event_id_is_the_reference_hash(version):
    event = build(version, unsigned={"age": 1})

    redacted = redact(event.pdu, rules_of(version))
    del redacted["signatures"]
    digest = sha256(encode_canonical_json(redacted)).digest()
    assert event.event_id == "$" + unpaddedbase64.encode_base64(digest, urlsafe=version != "3")
    assert "event_id" not in event.pdu


@pytest.mark.parametrize("version", WITH_PAIRS)
def test_the_first_versions_choose_event_ids_and_refer_by_pairs(version):
    event = build(version)

    assert event.event_id == event.pdu["event_id"] == "$opaque:example.org"
    assert event.pdu["prev_events"] == [["$prev:example.org", {"sha256": "p" * 43}]]
    assert event.pdu["auth_events"] == [["$auth:example.org", {"sha256": "a" * 43}]]
    assert event.prev_events == ("$prev:example.org",)


@pytest.mark.parametrize("version", WITH_PAIRS)
@pytest.mark.parametrize("opaque_id", [None, "", "nul\0", "colon:", "x" * 255])
def test_the_first_versions_need_an_opaque_id(version, opaque_id):
    with pytest.raises(InvalidEvent):
        build(version, opaque_id=opaque_id)


@pytest.mark.parametrize("version", WITH_PAIRS)
@pytest.mark.parametrize("hashes", [None, {}, {"$prev:example.org": "p" * 43}])
def test_the_first_versions_need_the_hash_of_every_reference(version, hashes):
    with pytest.raises(InvalidEvent):
        build(version, reference_hashes=hashes)


def test_the_create_event_of_version_12_gives_the_room_its_id():
    draft = draft_in("12", type="m.room.create", state_key="", room_id=None)

    event = build("12", draft, prev_events=[], auth_events=[], depth=1)

    assert "room_id" not in event.pdu
    assert event.room_id == f"!{event.event_id[1:]}"
    assert event_from_pdu(event.pdu, rules_of("12")) == event


def test_the_create_event_of_version_12_cannot_name_a_room():
    with pytest.raises(InvalidEvent):
        build("12", draft_in("12", type="m.room.create", state_key=""))


@every_version
def test_other_events_need_a_room(version):
    with pytest.raises(InvalidEvent):
        build(version, draft_in(version, room_id=None))


@pytest.mark.parametrize("version", [v for v in ROOM_VERSIONS if v != "12"])
def test_create_events_before_version_12_need_a_room(version):
    draft = draft_in(version, type="m.room.create", state_key="")

    assert build(version, draft).pdu["room_id"] == draft.room_id
    with pytest.raises(InvalidEvent):
        build(version, draft_in(version, type="m.room.create", state_key="", room_id=None))


@every_version
def test_redacts_stands_where_the_version_keeps_it(version):
    content = {"reason": "spam"}
    event = build(
        version, draft_in(version, type="m.room.redaction", content=content, redacts=EventID("$x"))
    )

    assert event.redacts == "$x"
    assert content == {"reason": "spam"}
    if int(version) >= 11:
        assert "redacts" not in event.pdu
        assert event.pdu["content"] == event.content == {"reason": "spam", "redacts": "$x"}
    else:
        assert event.pdu["redacts"] == "$x"
        assert event.content == {"reason": "spam"}


@pytest.mark.parametrize("version", ["11", "12"])
def test_a_redaction_that_a_client_wrote_by_itself_has_its_target_too(version):
    event = build(version, draft_in(version, type="m.room.redaction", content={"redacts": "$x"}))

    assert event.redacts == "$x"


@every_version
def test_depth_stays_at_the_limit_of_the_version(version):
    limit = 2**53 - 1 if version in STRICT else 2**63 - 1

    assert build(version, depth=limit).depth == limit
    assert build(version, depth=limit + 1).depth == limit
    assert build(version, depth=limit + 1).pdu["depth"] == limit


@pytest.mark.parametrize("ts", [MAX_INTEGER + 1, -MAX_INTEGER - 1])
@every_version
def test_a_time_out_of_range_is_refused(version, ts):
    with pytest.raises(InvalidEvent):
        build(version, origin_server_ts=ts)


@every_version
@pytest.mark.parametrize(("key", "limit"), [("prev_events", 20), ("auth_events", 10)])
def test_references_are_limited_in_number(version, key, limit):
    references = [EventID(f"${number}:example.org") for number in range(limit + 1)]
    others = {"auth_events" if key == "prev_events" else "prev_events": []}
    if version in WITH_PAIRS:
        others["reference_hashes"] = dict.fromkeys(references, "h" * 43)

    assert len(getattr(build(version, **{key: references[:limit]}, **others), key)) == limit
    with pytest.raises(InvalidEvent):
        build(version, **{key: references}, **others)


@every_version
@pytest.mark.parametrize("unsigned", [None, {"age": 1}])
@pytest.mark.parametrize("letter", ["x", "ä"])
def test_the_whole_event_has_at_most_65536_bytes(version, unsigned, letter):
    empty = len(
        encode_canonical(
            build(version, draft_in(version, content={"body": ""}), unsigned=unsigned).pdu
        )
    )
    room = 65_536 - empty
    body = letter * (room // len(letter.encode())) + "x" * (room % len(letter.encode()))

    event = build(version, draft_in(version, content={"body": body}), unsigned=unsigned)

    assert len(encode_canonical(event.pdu)) == 65_536
    with pytest.raises(EventTooLarge):
        build(version, draft_in(version, content={"body": body + "x"}), unsigned=unsigned)


@every_version
@pytest.mark.parametrize("key", ["type", "state_key"])
def test_type_and_state_key_have_at_most_255_bytes(version, key):
    longest = "ä" * 127 + "x"

    assert getattr(build(version, draft_in(version, **{key: longest})), key) == longest
    with pytest.raises(EventTooLarge):
        build(version, draft_in(version, **{key: longest + "x"}))


@every_version
@pytest.mark.parametrize("key", ["type", "state_key"])
def test_type_and_state_key_have_no_nul(version, key):
    with pytest.raises(InvalidEvent):
        build(version, draft_in(version, **{key: "x\0"}))


@every_version
@pytest.mark.parametrize(
    "changes",
    [
        {"content": {"x": "\ud800"}},
        {"content": {"x": float("nan")}},
        {"content": {1: 2}},
        {"type": "\ud800"},
        {"state_key": "\udfff"},
    ],
)
def test_what_is_not_json_is_refused(version, changes):
    with pytest.raises(InvalidJson):
        build(version, draft_in(version, **changes))


@every_version
def test_unsigned_is_json_too(version):
    with pytest.raises(InvalidJson):
        build(version, unsigned={"x": "\ud800"})


@pytest.mark.parametrize("version", STRICT)
@pytest.mark.parametrize("number", [1.0, 2**53])
def test_loose_numbers_are_refused_from_version_6_on(version, number):
    with pytest.raises(InvalidJson):
        build(version, draft_in(version, content={"x": number}))


@pytest.mark.parametrize("version", LENIENT)
@pytest.mark.parametrize("number", [1.0, 1e16, 2**60])
def test_loose_numbers_are_accepted_before_version_6(version, number):
    event = build(version, draft_in(version, content={"x": number}))

    assert event_from_pdu(event.pdu, rules_of(version)) == event


@every_version
def test_the_draft_is_left_as_it_was(version):
    draft = draft_in(
        version, type="m.room.redaction", content={"a": {"b": 1}}, redacts=EventID("$x")
    )
    before = deepcopy(draft)

    build(version, draft, unsigned={"age": 1})

    assert draft == before


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(), st.integers(-MAX_INTEGER, MAX_INTEGER)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=15,
)
EVENT_TYPES = ["m.room.message", "m.room.member", "m.room.power_levels", "m.room.redaction", "x"]


@settings(deadline=None)
@given(
    st.sampled_from(list(ROOM_VERSIONS)),
    st.sampled_from(EVENT_TYPES),
    st.dictionaries(
        st.sampled_from(["membership", "users", "redacts", "third_party_invite", "x"]), JSON
    ),
)
def test_whatever_we_build_others_accept(version, event_type, content):
    event = build(version, draft_in(version, type=event_type, content=content, state_key="k"))

    received = event_from_pdu(decode_json(encode_canonical(event.pdu)), rules_of(version))
    assert received == event
    assert has_valid_content_hash(received.pdu, rules_of(version))
    signedjson.sign.verify_signed_json(redact(received.pdu, rules_of(version)), SERVER, ORACLE_KEY)
