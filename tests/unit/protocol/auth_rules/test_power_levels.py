import pytest

ALL = [str(number) for number in range(1, 13)]
BEFORE_6, FROM_6, BEFORE_10, FROM_10, BEFORE_12 = ALL[:5], ALL[5:], ALL[:9], ALL[9:], ALL[:11]
ALICE, BOB, CAROL, DAVE = "@alice:one", "@bob:two", "@carol:one", "@dave:two"
NAMED = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]


@pytest.fixture(params=ALL)
def room(request, make_room):
    """A room of every version where Bob has 50, and no power levels yet."""
    room = make_room(request.param)
    room.has(BOB, "join")
    return room


def new_levels(room, *, by=BOB, **content):
    return room.event("m.room.power_levels", content, sender=by, state_key="")


def change(room, current, new, *, own=50, new_own=50):
    """Judge a change by Bob, who is listed besides what the test says."""
    now = {"users_default": 0, "state_default": 50, **current}
    room.levels(**{**now, "users": {BOB: own, **now.get("users", {})}})
    then = {"users_default": 0, "state_default": 50, **new}
    users = {**({} if new_own is None else {BOB: new_own}), **then.get("users", {})}
    return room.refusal(new_levels(room, **{**then, "users": users}))


# The shape


@pytest.mark.parametrize("users", [None, 1, "x", [], [BOB], {BOB: None}, {BOB: "high"}, {BOB: {}}])
def test_users_must_be_an_object_of_levels(room, users):
    assert room.refusal(new_levels(room, by=ALICE, users=users)) == "power_levels.users"


@pytest.mark.parametrize("key", ["", "bob", "@bob", "bob:two", "@bob:", "@b\0b:two", "#bob:two"])
def test_the_keys_of_users_must_be_user_ids(room, key):
    assert room.refusal(new_levels(room, by=ALICE, users={key: 0})) == "power_levels.users"


@pytest.mark.parametrize("key", [BOB, "@:two", "@Bob Ünü:two", "@bob:[::1]:8448"])
def test_historical_user_ids_are_user_ids(room, key):
    assert room.refusal(new_levels(room, by=ALICE, users={key: 0})) is None


def test_users_may_be_absent(room):
    assert room.refusal(new_levels(room, by=ALICE)) is None


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_level(room, value):
    assert room.refusal(new_levels(room, by=ALICE, users={BOB: value})) == "power_levels.users"
    assert room.refusal(new_levels(room, by=ALICE, ban=value)) == "power_levels.defaults"


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("value", [None, "high", "1.5", [], {}])
def test_the_named_levels_must_be_levels(room, key, value):
    assert room.refusal(new_levels(room, by=ALICE, **{key: value})) == "power_levels.defaults"


@pytest.mark.parametrize("value", [None, 1, "x", [], {"x": None}, {"x": "high"}, {"x": {}}])
def test_events_must_be_an_object_of_levels(room, value):
    assert room.refusal(new_levels(room, by=ALICE, events=value)) == "power_levels.entries"


@pytest.mark.parametrize("version", FROM_6)
@pytest.mark.parametrize("value", [None, 1, "x", [], {"room": None}, {"room": "high"}])
def test_notifications_must_be_an_object_of_levels_from_version_6_on(make_room, version, value):
    room = make_room(version)
    event = new_levels(room, by=ALICE, notifications=value)
    assert room.refusal(event) == "power_levels.entries"


@pytest.mark.parametrize("version", BEFORE_6)
def test_notifications_are_not_looked_at_before_version_6(make_room, version):
    room = make_room(version)
    assert room.refusal(new_levels(room, by=ALICE, notifications=[])) is None


@pytest.mark.parametrize("version", BEFORE_10)
def test_levels_may_be_strings_of_integers_before_version_10(make_room, version):
    room = make_room(version)
    content = {"users": {BOB: " -0050 "}, "ban": "+50", "events": {"m.room.name": "0"}}
    assert room.refusal(new_levels(room, by=ALICE, **content)) is None


@pytest.mark.parametrize("version", FROM_10)
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"users": {BOB: "50"}}, "power_levels.users"),
        ({"ban": "50"}, "power_levels.defaults"),
        ({"events": {"m.room.name": "0"}}, "power_levels.entries"),
        ({"notifications": {"room": "0"}}, "power_levels.entries"),
    ],
)
def test_levels_must_be_integers_from_version_10_on(make_room, version, content, rule):
    room = make_room(version)
    assert room.refusal(new_levels(room, by=ALICE, **content)) == rule


@pytest.mark.parametrize("version", BEFORE_6)
def test_levels_may_be_floats_before_version_6(make_room, version):
    room = make_room(version)
    assert room.refusal(new_levels(room, by=ALICE, users={BOB: 50.57}, ban=5.1e4)) is None


@pytest.mark.parametrize("version", BEFORE_6)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**309])
def test_numbers_beyond_a_double_are_refused(make_room, version, value):
    room = make_room(version)
    assert room.refusal(new_levels(room, by=ALICE, ban=value)) == "power_levels.defaults"


@pytest.mark.parametrize("listed", [ALICE, CAROL])
def test_version_12_refuses_levels_of_creators(make_room, listed):
    room = make_room("12", {"additional_creators": [CAROL]})
    event = new_levels(room, by=ALICE, users={BOB: 1, listed: 100})
    assert room.refusal(event) == "power_levels.creators"


@pytest.mark.parametrize("version", BEFORE_12)
def test_earlier_versions_give_levels_to_creators(make_room, version):
    room = make_room(version, {"additional_creators": [CAROL]})
    assert room.refusal(new_levels(room, by=ALICE, users={ALICE: 100, CAROL: 100})) is None


# Without current power levels


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_first_power_levels_may_be_anything(make_room, version):
    room = make_room(version)
    content = {"users": {ALICE: 101, BOB: 1000}, "ban": 1000, "events": {"m.room.name": 1000}}
    assert room.refusal(new_levels(room, by=ALICE, **content)) is None


def test_the_first_power_levels_need_the_state_level(room):
    assert room.refusal(new_levels(room, by=BOB)) == "event.level"


# The named levels


@pytest.mark.parametrize("key", NAMED)
def test_a_named_level_up_to_ones_own_may_be_changed(room, key):
    assert change(room, {key: 50}, {key: 49}) is None
    assert change(room, {key: 49}, {key: 50}) is None


# A state default above one's own level forbids to send power levels at all.
@pytest.mark.parametrize("key", [key for key in NAMED if key != "state_default"])
def test_a_named_level_above_ones_own_may_not_be_changed_or_removed(room, key):
    assert change(room, {key: 51}, {key: 0}) == "power_levels.default_current"
    removed = change(room, {key: 51}, {} if key != "users_default" else {key: 0})
    assert removed == "power_levels.default_current"


@pytest.mark.parametrize("key", NAMED)
def test_a_named_level_may_not_be_raised_or_added_above_ones_own(room, key):
    assert change(room, {key: 50}, {key: 51}) == "power_levels.default_new"
    assert change(room, {}, {key: 51}) == "power_levels.default_new"


def test_a_named_level_above_ones_own_may_stay(room):
    assert change(room, {"ban": 51, "kick": 99}, {"ban": 51, "kick": 99}) is None


@pytest.mark.parametrize(("key", "default"), [("ban", 50), ("kick", 50), ("redact", 50)])
def test_an_absent_named_level_has_its_default(room, key, default):
    levels = {"events": {"m.room.power_levels": 0}}
    below, at = default - 1, default
    assert change(room, levels, {**levels, key: 0}, own=below) == "power_levels.default_current"
    assert change(room, levels, {**levels, key: 0}, own=at) is None


@pytest.mark.parametrize("key", ["ban", "kick", "redact"])
def test_removing_a_named_level_sets_its_default(room, key):
    levels = {"events": {"m.room.power_levels": 0}}
    assert change(room, {**levels, key: 0}, levels, own=49, new_own=49) == (
        "power_levels.default_new"
    )
    assert change(room, {**levels, key: 0}, levels) is None


# Events and notifications


LIMITED = [
    *(("events", version) for version in ALL),
    *(("notifications", version) for version in FROM_6),
]


@pytest.mark.parametrize(("name", "version"), LIMITED)
@pytest.mark.parametrize(
    ("current", "new", "refusal"),
    [
        ({}, {"x": 50}, None),
        ({"x": 50}, {}, None),
        ({"x": 50}, {"x": 49}, None),
        ({"x": 51}, {"x": 51}, None),
        ({"x": 51}, {"x": 50}, "power_levels.entry_current"),
        ({"x": 51}, {}, "power_levels.entry_current"),
        ({}, {"x": 51}, "power_levels.entry_new"),
        ({"x": 50}, {"x": 51}, "power_levels.entry_new"),
    ],
)
def test_entries_may_be_changed_up_to_ones_own_level(
    make_room, name, version, current, new, refusal
):
    room = make_room(version)
    room.has(BOB, "join")
    assert change(room, {name: current}, {name: new}) == refusal


@pytest.mark.parametrize("version", BEFORE_6)
def test_notifications_are_free_before_version_6(make_room, version):
    room = make_room(version)
    room.has(BOB, "join")
    assert change(room, {"notifications": {"room": 99}}, {"notifications": {"room": 100}}) is None


def test_the_default_of_an_absent_entry_is_not_looked_at(room):
    levels = {"events": {"m.room.power_levels": 0}, "state_default": 99, "events_default": 99}
    new = {**levels, "events": {"m.room.power_levels": 0, "x": 0}}
    assert change(room, levels, new) is None


# Users


@pytest.mark.parametrize(
    ("current", "new", "refusal"),
    [
        ({}, {CAROL: 50}, None),
        ({CAROL: 49}, {}, None),
        ({CAROL: 49}, {CAROL: 50}, None),
        ({CAROL: 50}, {CAROL: 50}, None),
        ({CAROL: 99}, {CAROL: 99}, None),
        ({CAROL: 50}, {CAROL: 49}, "power_levels.user_current"),
        ({CAROL: 50}, {}, "power_levels.user_current"),
        ({CAROL: 51}, {CAROL: 0}, "power_levels.user_current"),
        ({}, {CAROL: 51}, "power_levels.user_new"),
        ({CAROL: 49}, {CAROL: 51}, "power_levels.user_new"),
    ],
)
def test_users_below_may_be_changed_up_to_ones_own_level(room, current, new, refusal):
    assert change(room, {"users": current}, {"users": new}) == refusal


def test_one_may_step_down(room):
    assert change(room, {}, {}, new_own=49) is None
    assert change(room, {}, {}, new_own=None) is None


def test_one_may_not_step_up(room):
    assert change(room, {}, {}, new_own=51) == "power_levels.user_new"


def test_a_creator_of_version_12_may_change_everything(make_room):
    room = make_room("12")
    room.levels(users={CAROL: 2**53 - 1}, ban=2**53 - 1, events={"x": 2**53 - 1})
    event = new_levels(room, by=ALICE, users={DAVE: 2**53 - 1}, kick=2**53 - 1, events={"y": 1})
    assert room.refusal(event) is None


# Spellings and malformed current levels


@pytest.mark.parametrize("version", BEFORE_10)
def test_another_spelling_of_a_level_is_no_change(make_room, version):
    room = make_room(version)
    room.has(BOB, "join")
    current = {"ban": "051", "users": {CAROL: "99"}, "events": {"x": " 70"}}
    assert change(room, current, {"ban": 51, "users": {CAROL: 99}, "events": {"x": 70}}) is None


@pytest.mark.parametrize("version", BEFORE_10)
def test_strings_are_compared_as_numbers(make_room, version):
    room = make_room(version)
    room.has(BOB, "join")
    # As text "9" would be greater than "50", and "100" less.
    assert change(room, {}, {"ban": "9"}) is None
    assert change(room, {}, {"ban": "100"}) == "power_levels.default_new"


def test_malformed_current_levels_count_as_absent(room):
    room.levels(users={BOB: 50}, events=["x"], notifications=None, kick={}, state_default=50)
    event = new_levels(room, users={BOB: 50}, events={"x": 50}, kick=50, state_default=50)
    assert room.refusal(event) is None
