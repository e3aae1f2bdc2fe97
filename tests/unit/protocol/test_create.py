import pytest

from homeserver.protocol.create import Predecessor, room_creation, rules_of_create
from homeserver.protocol.errors import UnsupportedRoomVersion
from homeserver.protocol.event import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALL = [str(number) for number in range(1, 13)]
BEFORE_11, BEFORE_12 = ALL[:10], ALL[:11]
ALICE, BOB, CAROL = "@alice:one", "@bob:two", "@carol:one"


def creation_of(version, **content):
    event = Event(
        event_id="$create",
        room_id="!room:one",
        room_version=version,
        type="m.room.create",
        state_key="",
        sender=ALICE,
        content=content,
        origin_server_ts=0,
        depth=1,
        prev_events=(),
        auth_events=(),
        pdu={},
    )
    return room_creation(event, ROOM_VERSIONS[version])


@pytest.mark.parametrize("version", ALL)
def test_an_empty_create_event_has_its_defaults(version):
    creation = creation_of(version)
    assert (creation.event_id, creation.room_id, creation.sender) == (
        "$create",
        "!room:one",
        ALICE,
    )
    assert creation.room_version == version
    assert creation.is_federatable
    assert creation.type is None
    assert creation.predecessor is None


@pytest.mark.parametrize("version", BEFORE_11)
def test_before_version_11_the_content_names_the_creator(version):
    creation = creation_of(version, creator=BOB, additional_creators=[CAROL])
    assert creation.creator == BOB
    assert creation.creators == {BOB}


@pytest.mark.parametrize("creator", [None, 1, "bob", "@bob", [BOB]])
def test_a_creator_who_is_no_user_id_is_nobody(creator):
    creation = creation_of("10", creator=creator)
    assert creation.creator is None
    assert creation.creators == frozenset()


def test_in_version_11_the_sender_is_the_only_creator():
    creation = creation_of("11", creator=BOB, additional_creators=[CAROL])
    assert creation.creator == ALICE
    assert creation.creators == {ALICE}


def test_version_12_adds_creators_to_the_sender():
    creation = creation_of("12", creator=BOB, additional_creators=[CAROL, ALICE, CAROL])
    assert creation.creator == ALICE
    assert creation.creators == {ALICE, CAROL}


@pytest.mark.parametrize("listed", [None, BOB, {BOB: 1}, [None], ["bob"], [[BOB]]])
def test_malformed_additional_creators_are_left_out(listed):
    assert creation_of("12", additional_creators=listed).creators == {ALICE}


@pytest.mark.parametrize("value", [True, None, 0, "false"])
def test_only_false_keeps_a_room_to_its_server(value):
    assert creation_of("12", **{"m.federate": value}).is_federatable
    assert not creation_of("12", **{"m.federate": False}).is_federatable


@pytest.mark.parametrize(("stated", "read"), [("m.space", "m.space"), (None, None), (1, None)])
def test_the_room_type_is_a_string(stated, read):
    assert creation_of("12", type=stated).type == read


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ({"room_id": "!old:one"}, Predecessor("!old:one")),
        ({"room_id": "!old:one", "event_id": "$last"}, Predecessor("!old:one", "$last")),
        ({"room_id": "!old:one", "event_id": "last"}, Predecessor("!old:one")),
        ({"room_id": "!old:one", "event_id": 1}, Predecessor("!old:one")),
        ({"room_id": "old:one", "event_id": "$last"}, None),
        ({"room_id": 1}, None),
        ({}, None),
        ("!old:one", None),
        (None, None),
    ],
)
def test_the_predecessor_is_read_as_far_as_it_is_well_formed(stated, read):
    assert creation_of("12", predecessor=stated).predecessor == read


@pytest.mark.parametrize("version", ALL)
def test_the_content_states_the_room_version(version):
    assert rules_of_create({"room_version": version}).version == version


def test_a_missing_room_version_means_version_1():
    assert rules_of_create({}).version == "1"


@pytest.mark.parametrize("stated", ["13", "", None, 12, [], {}])
def test_any_other_room_version_is_unsupported(stated):
    with pytest.raises(UnsupportedRoomVersion):
        rules_of_create({"room_version": stated})
