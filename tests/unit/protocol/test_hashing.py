import json
from hashlib import sha256
from pathlib import Path

import pytest
import unpaddedbase64
from canonicaljson import encode_canonical_json

from homeserver.protocol.errors import InvalidEvent, InvalidJson
from homeserver.protocol.hashing import (
    MAX_EVENT_DEPTH,
    add_content_hash,
    content_hash,
    encode_event,
    event_id_of,
    has_valid_content_hash,
    reference_hash,
)
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of
from homeserver.protocol.signing import verify_event

VECTORS = Path(__file__).parent / "vectors"
EVENT_IDS = json.loads((VECTORS / "event_ids.json").read_text())
SIGNED_EVENTS = [
    signed for _, signed in json.loads((VECTORS / "signing.json").read_text())["events"]
]
COMPUTED = [version for version in ROOM_VERSIONS if int(version) >= 3]
STRICT = [version for version in ROOM_VERSIONS if int(version) >= 6]
LENIENT = [version for version in ROOM_VERSIONS if int(version) <= 5]


@pytest.mark.parametrize("signed", SIGNED_EVENTS)
def test_the_content_hashes_of_the_specification_hold(signed):
    assert content_hash(signed, rules_of("1")) == signed["hashes"]["sha256"]
    assert has_valid_content_hash(signed, rules_of("1"))


@pytest.mark.parametrize(("version", "event_id"), EVENT_IDS["event_ids"].items())
def test_event_ids_are_those_computed_by_other_libraries(version, event_id):
    assert event_id_of(EVENT_IDS["events"][version], rules_of(version)) == event_id


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_hashes_and_signatures_of_other_libraries_are_valid(version):
    pdu, rules = EVENT_IDS["events"][version], rules_of(version)

    assert has_valid_content_hash(pdu, rules)
    verify_event(pdu, rules, "domain", "ed25519:1", EVENT_IDS["verify_key"])


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_hashes_cover_what_the_specification_says(version):
    pdu = EVENT_IDS["events"][version]
    unhashed = {k: v for k, v in pdu.items() if k not in ("hashes", "signatures", "unsigned")}
    redacted = {k: v for k, v in redact(pdu, rules_of(version)).items() if k != "signatures"}

    digest = sha256(encode_canonical_json(unhashed)).digest()
    assert content_hash(pdu, rules_of(version)) == unpaddedbase64.encode_base64(digest)
    digest = sha256(encode_canonical_json(redacted)).digest()
    assert reference_hash(pdu, rules_of(version)) == digest


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@pytest.mark.parametrize("change", [{"signatures": {}}, {"unsigned": {"age": 9}}, {"age_ts": 1}])
def test_neither_signatures_nor_unsigned_change_an_event_id(version, change):
    pdu = EVENT_IDS["events"][version]

    assert event_id_of({**pdu, **change}, rules_of(version)) == EVENT_IDS["event_ids"][version]


@pytest.mark.parametrize("version", COMPUTED)
def test_the_redacted_event_has_the_same_event_id(version):
    pdu, rules = EVENT_IDS["events"][version], rules_of(version)

    assert event_id_of(redact(pdu, rules), rules) == event_id_of(pdu, rules)


@pytest.mark.parametrize("version", COMPUTED)
@pytest.mark.parametrize("change", [{"depth": 99}, {"hashes": {"sha256": "x"}}, {"event_id": "$x"}])
def test_every_protected_key_counts_for_the_event_id(version, change):
    pdu = EVENT_IDS["events"][version]

    assert event_id_of({**pdu, **change}, rules_of(version)) != EVENT_IDS["event_ids"][version]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("event_id", [None, 1, ["$x:example.org"]])
def test_an_event_of_the_first_versions_must_bring_its_event_id(version, event_id):
    with pytest.raises(InvalidEvent):
        event_id_of({"event_id": event_id}, rules_of(version))
    with pytest.raises(InvalidEvent):
        event_id_of({}, rules_of(version))


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_adding_the_content_hash_makes_it_valid(version):
    rules = rules_of(version)
    pdu = {"type": "m.room.message", "content": {"body": "hi"}, "hashes": {"md5": "x"}}

    hashed = add_content_hash(pdu, rules)

    assert pdu["hashes"] == {"md5": "x"}
    assert hashed == {**pdu, "hashes": {"sha256": content_hash(pdu, rules)}}
    assert has_valid_content_hash(hashed, rules)


@pytest.mark.parametrize("change", [{"content": {"body": "changed"}}, {"depth": 99}, {"extra": 1}])
def test_a_changed_event_has_no_valid_content_hash(change):
    pdu = add_content_hash(EVENT_IDS["events"]["10"], rules_of("10"))

    assert not has_valid_content_hash({**pdu, **change}, rules_of("10"))


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@pytest.mark.parametrize(
    "hashes", [None, [], "x", {}, {"sha256": None}, {"sha256": 1}, {"sha256": "!"}, {"sha256": ""}]
)
def test_malformed_hashes_are_not_valid(version, hashes):
    assert not has_valid_content_hash({"content": {}, "hashes": hashes}, rules_of(version))
    assert not has_valid_content_hash({"content": {}}, rules_of(version))


def test_the_claimed_hash_is_compared_after_decoding():
    pdu = add_content_hash({"content": {}}, rules_of("10"))
    padded = pdu["hashes"]["sha256"] + "="

    assert has_valid_content_hash({**pdu, "hashes": {"sha256": padded}}, rules_of("10"))


@pytest.mark.parametrize("version", STRICT)
@pytest.mark.parametrize("number", [1.0, 2**53])
def test_rooms_from_version_6_on_hash_no_loose_numbers(version, number):
    pdu = {"type": "m.room.create", "content": {"creator": number}, "depth": number}

    for compute in (content_hash, reference_hash, event_id_of):
        with pytest.raises(InvalidJson):
            compute(pdu, rules_of(version))


@pytest.mark.parametrize("version", LENIENT)
@pytest.mark.parametrize("number", [1.0, 1e16, 2**53, -(2**70)])
def test_older_rooms_hash_loose_numbers(version, number):
    pdu = {"content": {"x": number}}

    digest = sha256(encode_canonical_json(pdu)).digest()
    assert content_hash(pdu, rules_of(version)) == unpaddedbase64.encode_base64(digest)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_an_event_nests_less_deeply_than_other_json(version):
    value = ["x"]
    for _ in range(MAX_EVENT_DEPTH - 1):
        value = [value]

    assert b"x" in encode_event(value, rules_of(version))
    with pytest.raises(InvalidJson):
        encode_event([value], rules_of(version))
