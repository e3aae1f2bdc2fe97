import json
from copy import deepcopy
from pathlib import Path

import pytest

from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of

TABLE = json.loads((Path(__file__).parent / "vectors/redaction.json").read_text())
KEYS = TABLE["keys"]
CONTENT_CASES = [
    (str(version), event_type, content, kept)
    for event_type, content, spans in TABLE["content"]
    for first, last, kept in spans
    for version in range(first, last + 1)
]


@pytest.mark.parametrize(("version", "event_type", "content", "kept"), CONTENT_CASES)
def test_content_is_redacted_as_the_room_version_says(version, event_type, content, kept):
    redacted = redact({"type": event_type, "content": content}, rules_of(version))

    assert redacted == {"type": event_type, "content": kept}


def test_the_table_has_every_event_type_in_every_room_version():
    seen = [
        (version, event_type, json.dumps(content))
        for version, event_type, content, _ in CONTENT_CASES
    ]

    assert len(seen) == len(set(seen)) == len(TABLE["content"]) * len(ROOM_VERSIONS)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_only_protected_keys_of_the_event_stay(version):
    every_key = [key for keys in KEYS.values() for key in keys]
    old_keys = KEYS["versions_1_to_10"] if int(version) <= 10 else []
    pdu = {key: {} if key == "content" else f"value of {key}" for key in every_key}

    redacted = redact(pdu, rules_of(version))

    assert redacted == {key: pdu[key] for key in KEYS["always"] + old_keys}


@pytest.mark.parametrize(("version", "event_type", "content", "kept"), CONTENT_CASES)
def test_redacting_changes_nothing_in_the_original(version, event_type, content, kept):
    pdu = {"type": event_type, "content": content, "unsigned": {"age": 1}, "signatures": {"x": {}}}
    before = deepcopy(pdu)

    redacted = redact(pdu, rules_of(version))
    redacted["content"]["added"] = redacted["added"] = True

    assert pdu == before


@pytest.mark.parametrize(("version", "event_type", "content", "kept"), CONTENT_CASES)
def test_redacting_twice_is_redacting_once(version, event_type, content, kept):
    once = redact({"type": event_type, "content": content, "origin": "x"}, rules_of(version))

    assert redact(once, rules_of(version)) == once


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@pytest.mark.parametrize("content", [None, [], "membership", 1])
def test_content_that_is_no_object_becomes_empty(version, content):
    pdu = {"type": "m.room.member", "content": content}

    assert redact(pdu, rules_of(version)) == {"type": "m.room.member", "content": {}}


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@pytest.mark.parametrize("event_type", [None, 1, ["m.room.member"], {}])
def test_a_type_that_is_no_string_protects_nothing(version, event_type):
    pdu = {"type": event_type, "content": {"membership": "join"}}

    assert redact(pdu, rules_of(version)) == {"type": event_type, "content": {}}


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_missing_keys_are_not_made_up(version):
    assert redact({}, rules_of(version)) == {}
    assert redact({"content": {"a": 1}}, rules_of(version)) == {"content": {}}
