import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.create import RoomCreation
from homeserver.protocol.power_levels import CREATOR_LEVEL, parse_power_levels, read_level
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALL = [str(number) for number in range(1, 13)]
BEFORE_6, FROM_6, BEFORE_10, FROM_10, BEFORE_12 = ALL[:5], ALL[5:], ALL[:9], ALL[9:], ALL[:11]
ALICE, BOB, CAROL = "@alice:one", "@bob:two", "@carol:one"


def creation(creators=(ALICE,)):
    return RoomCreation(
        event_id="$create",
        room_id="!room:one",
        room_version="not looked at",
        sender=ALICE,
        creator=next(iter(creators), None),
        creators=frozenset(creators),
        is_federatable=True,
        type=None,
        predecessor=None,
    )


def parse(version, content, **kwargs):
    return parse_power_levels(creation(**kwargs), content, ROOM_VERSIONS[version])


def level(value, version):
    return read_level(value, ROOM_VERSIONS[version])


def named(levels):
    return {
        "users_default": levels.users_default,
        "events_default": levels.events_default,
        "state_default": levels.state_default,
        "ban": levels.ban,
        "redact": levels.redact,
        "kick": levels.kick,
        "invite": levels.invite,
    }


DEFAULTS = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("content", [None, {}, {"users": None, "events": [], "notifications": 1}])
def test_the_defaults_are_the_same_with_and_without_an_event(version, content):
    levels = parse(version, content)
    assert named(levels) == DEFAULTS
    assert levels.of_user(BOB) == 0
    assert levels.required_for("m.room.message", is_state=False) == 0
    assert levels.required_for("m.room.topic", is_state=True) == 50
    assert levels.notification("room") == 50


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_creator_has_100_without_an_event_and_nothing_with_one(version):
    assert parse(version, None).of_user(ALICE) == 100
    assert parse(version, {}).of_user(ALICE) == 0


@pytest.mark.parametrize("version", BEFORE_12)
def test_without_creator_and_event_everybody_has_0(version):
    assert parse(version, None, creators=()).of_user(ALICE) == 0


@pytest.mark.parametrize("content", [None, {}, {"users": {ALICE: 5}}])
def test_creators_of_version_12_stand_above_every_level(content):
    levels = parse("12", content, creators=(ALICE, CAROL))
    assert levels.of_user(ALICE) == levels.of_user(CAROL) == CREATOR_LEVEL > 2**53 - 1
    assert levels.of_user(BOB) == 0


@pytest.mark.parametrize("version", ALL)
def test_what_is_stated_goes_before_the_defaults(version):
    stated = {key: number for number, key in enumerate(DEFAULTS, start=7)}
    entries = {"events": {"x": 1, "y": -1}, "users": {BOB: 2}, "notifications": {"room": 3}}
    levels = parse(version, {**stated, **entries})
    assert named(levels) == stated
    assert levels.required_for("x", is_state=True) == 1
    assert levels.required_for("y", is_state=False) == -1
    assert levels.required_for("z", is_state=True) == stated["state_default"]
    assert levels.required_for("z", is_state=False) == stated["events_default"]
    assert levels.of_user(BOB) == 2
    assert levels.of_user(CAROL) == stated["users_default"]
    assert levels.notification("room") == 3
    assert levels.notification("other") == 50


@pytest.mark.parametrize("version", ALL)
def test_unreadable_entries_count_as_absent(version):
    content = {"users": {BOB: []}, "events": {"x": "high"}, "users_default": 5, "ban": None}
    levels = parse(version, content)
    assert levels.of_user(BOB) == 5
    assert levels.required_for("x", is_state=True) == 50
    assert levels.ban == 50


@pytest.mark.parametrize("version", ALL)
def test_a_level_suffices_from_the_required_one_on(version):
    content = {"users": {BOB: 30}, "redact": 30, "invite": 31, "state_default": 31}
    levels = parse(version, {**content, "events_default": 30})
    assert levels.may_send(BOB, "x", is_state=False)
    assert not levels.may_send(BOB, "x", is_state=True)
    assert levels.may_redact(BOB)
    assert not levels.may_invite(BOB)
    assert not levels.may_redact(CAROL)


@pytest.mark.parametrize("version", ALL)
def test_kicking_and_banning_need_the_level_and_a_lower_target(version):
    dave, erin = "@dave:two", "@erin:two"
    levels = parse(version, {"users": {BOB: 60, CAROL: 60, dave: 59, erin: 61}, "ban": 61})
    assert levels.may_kick(BOB, dave)
    assert not levels.may_kick(BOB, CAROL)
    assert not levels.may_kick(BOB, erin)
    assert not levels.may_ban(BOB, dave)
    assert levels.may_ban(erin, BOB)
    assert not levels.may_ban(erin, erin)
    assert not levels.may_kick("@stranger:two", "@other:two")


# What a JSON value means


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("value", [0, 1, -1, 2**53 - 1, -(2**53) + 1])
def test_integers_are_levels_everywhere(version, value):
    assert level(value, version) == value


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("value", [None, True, False, [], {}, [50], {"x": 50}, ""])
def test_what_is_no_number_is_no_level(version, value):
    assert level(value, version) is None


@pytest.mark.parametrize("version", FROM_6)
@pytest.mark.parametrize("value", [2**53, -(2**53), 10**400])
def test_the_range_is_that_of_canonical_json_from_version_6_on(version, value):
    assert level(value, version) is None
    assert level(str(value), version) is None


@pytest.mark.parametrize("version", BEFORE_6)
def test_the_range_is_that_of_a_double_before_version_6(version):
    assert level(2**53, version) == 2**53
    assert level(1.7976931348623157e308, version) == int(1.7976931348623157e308)
    assert level(str(10**308), version) == 10**308
    assert level(-(10**308), version) == -(10**308)
    for value in (10**309, -(10**309), str(10**309), str(2 * 10**308)):
        assert level(value, version) is None


@pytest.mark.parametrize("version", BEFORE_10)
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100", 100),
        ("000100", 100),
        ("+100", 100),
        ("-100", -100),
        ("-0", 0),
        ("000", 0),
        (" 100 ", 100),
        (" 00100 ", 100),
        (" +100 ", 100),
        (" -100 ", -100),
        ("\t\n 100\r\n", 100),
        pytest.param("0" * 60_000 + "7", 7, id="a whole event of zeros"),
    ],
)
def test_strings_of_integers_are_levels_before_version_10(version, text, number):
    assert level(text, version) == number


@pytest.mark.parametrize("version", BEFORE_10)
@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "+", "--1", "+-1", "- 1", "1 0", "1.0", "1e3", "0x10", "1_000", "٣", "²", "ten"),
        *("nan", "Infinity"),
        pytest.param("9" * 60_000, id="a whole event of nines"),
        pytest.param("0" * 60_000 + "x", id="a whole event of zeros and an x"),
    ],
)
def test_other_strings_are_no_levels(version, text):
    assert level(text, version) is None


@pytest.mark.parametrize("version", FROM_10)
def test_no_string_is_a_level_from_version_10_on(version):
    assert level("100", version) is None


@pytest.mark.parametrize("version", BEFORE_6)
@pytest.mark.parametrize(
    ("value", "number"), [(5.114698e4, 51146), (50.57, 50), (-0.9, 0), (-50.57, -50), (1e3, 1000)]
)
def test_floats_are_cut_at_the_point_before_version_6(version, value, number):
    assert level(value, version) == number


@pytest.mark.parametrize("version", BEFORE_6)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_infinite_floats_are_no_levels(version, value):
    assert level(value, version) is None


@pytest.mark.parametrize("version", FROM_6)
def test_no_float_is_a_level_from_version_6_on(version):
    assert level(50.0, version) is None


@given(st.integers(-(2**53) + 1, 2**53 - 1), st.text(" \t", max_size=3), st.integers(0, 9))
def test_every_way_to_write_a_level_reads_the_same(number, space, zeros):
    sign = "-" if number < 0 else "+"
    text = f"{space}{sign}{'0' * zeros}{abs(number)}{space}"
    assert level(text, "9") == level(number, "9") == number


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(ALL),
)
def test_any_json_can_stand_anywhere_in_the_content(value, version):
    keys = [*DEFAULTS, "users", "events", "notifications"]
    for content in (dict.fromkeys(keys, value), {"users": {BOB: value}}):
        levels = parse(version, content)
        assert isinstance(levels.of_user(BOB), int)
        assert all(isinstance(number, int) for number in named(levels).values())
