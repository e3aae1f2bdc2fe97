import json
from pathlib import Path

import pytest

from homeserver.protocol.errors import UnsupportedRoomVersion
from homeserver.protocol.room_versions import (
    DEFAULT_ROOM_VERSION,
    ROOM_VERSIONS,
    EventIDFormat,
    RoomVersionRules,
    StateResolution,
    rules_of,
)

TABLE = json.loads((Path(__file__).parent / "vectors/room_versions.json").read_text())


def spans(table):
    return [
        (str(version), name)
        for name, (first, last) in table.items()
        for version in range(first, last + 1)
    ]


def test_all_stable_room_versions_are_known():
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]
    assert all(rules.version == version for version, rules in ROOM_VERSIONS.items())


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_each_fact_holds_from_the_first_to_the_last_of_its_versions(version):
    rules = rules_of(version)

    for fact, (first, last) in TABLE["facts"].items():
        assert getattr(rules, fact) is (first <= int(version) <= last), fact


def test_the_table_has_every_fact():
    others = {"version", "event_id_format", "state_resolution"}

    assert set(TABLE["facts"]) == set(RoomVersionRules.__struct_fields__) - others


@pytest.mark.parametrize(("version", "name"), spans(TABLE["event_id_format"]))
def test_event_ids_have_the_format_of_the_version(version, name):
    assert rules_of(version).event_id_format is EventIDFormat(name)


@pytest.mark.parametrize(("version", "name"), spans(TABLE["state_resolution"]))
def test_states_are_resolved_as_the_version_says(version, name):
    assert rules_of(version).state_resolution is StateResolution(name)


def test_new_rooms_get_version_12():
    assert DEFAULT_ROOM_VERSION == "12"
    assert DEFAULT_ROOM_VERSION in ROOM_VERSIONS


@pytest.mark.parametrize("version", ["", "0", "13", "01", "1 ", "org.example.msc1", "１"])
def test_other_room_versions_are_refused(version):
    with pytest.raises(UnsupportedRoomVersion):
        rules_of(version)
