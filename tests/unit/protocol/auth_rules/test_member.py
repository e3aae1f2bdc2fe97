import pytest

ALL = [str(number) for number in range(1, 13)]
FROM_7, FROM_8, FROM_10 = ALL[6:], ALL[7:], ALL[9:]
BEFORE_7, BEFORE_8, BEFORE_10, BEFORE_11 = ALL[:6], ALL[:7], ALL[:9], ALL[:10]
ALICE, BOB, CAROL, MALLORY = "@alice:one", "@bob:two", "@carol:one", "@mallory:three"
MEMBERSHIPS = ["join", "invite", "leave", "ban", "knock"]
AUTHORISED = "join_authorised_via_users_server"


@pytest.fixture(params=ALL)
def room(request, make_room):
    """A room of every version with Mallory at 90, and nobody else above 0 but creators of 12."""
    room = make_room(request.param)
    room.has(MALLORY, "join")
    room.levels(users={MALLORY: 90})
    return room


# All memberships


def test_a_member_event_without_state_key_is_refused(room):
    assert room.refusal(room.member(None, "join", by=BOB)) == "member.state_key"


def test_a_member_event_without_membership_is_refused(room):
    event = room.event("m.room.member", {}, sender=BOB, state_key=BOB)
    assert room.refusal(event) == "member.membership"


@pytest.mark.parametrize("membership", ["", "joined", "JOIN", None, 1, ["join"], {"join": 1}])
def test_an_unknown_membership_is_refused(room, membership):
    assert room.refusal(room.member(BOB, membership)) == "member.unknown"


# Joining


@pytest.mark.parametrize("membership", [None, "leave", "invite", "knock", "join"])
def test_anyone_but_the_banned_may_join_a_public_room(room, membership):
    room.join_rule("public")
    if membership:
        room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "join")) is None


@pytest.mark.parametrize(
    "rule", ["public", "invite", "knock", "restricted", "knock_restricted", "private"]
)
def test_the_banned_may_not_join(room, rule):
    room.join_rule(rule)
    room.has(BOB, "ban")
    assert room.refusal(room.member(BOB, "join")) == "member.join.banned"


def test_nobody_can_make_another_user_join(room):
    room.join_rule("public")
    assert room.refusal(room.member(BOB, "join", by=ALICE)) == "member.join.sender"


@pytest.mark.parametrize("membership", ["invite", "join"])
def test_the_invited_and_the_joined_may_join_an_invite_room(room, membership):
    room.join_rule("invite")
    room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "join")) is None


@pytest.mark.parametrize("membership", [None, "leave", "knock"])
def test_others_may_not_join_an_invite_room(room, membership):
    room.join_rule("invite")
    if membership:
        room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "join")) == "member.join.not_invited"


def test_a_room_without_join_rules_is_an_invite_room(room):
    assert room.refusal(room.member(BOB, "join")) == "member.join.not_invited"
    room.has(BOB, "invite")
    assert room.refusal(room.member(BOB, "join")) is None


@pytest.mark.parametrize("rule", ["private", "unheard-of", "", None, 7, ["public"]])
def test_an_unknown_join_rule_lets_nobody_in(room, rule):
    room.join_rule(rule)
    assert room.refusal(room.member(BOB, "join")) == "member.join.rule"
    room.has(BOB, "invite")
    assert room.refusal(room.member(BOB, "join")) == "member.join.rule"


@pytest.mark.parametrize(
    ("rule", "version"),
    [
        *(("knock", version) for version in BEFORE_7),
        *(("restricted", version) for version in BEFORE_8),
        *(("knock_restricted", version) for version in BEFORE_10),
    ],
)
def test_a_join_rule_that_the_version_lacks_lets_nobody_in(make_room, rule, version):
    room = make_room(version)
    room.join_rule(rule)
    room.has(BOB, "invite")
    event = room.member(BOB, "join", join_authorised_via_users_server=ALICE)
    assert room.refusal(event) == "member.join.rule"


@pytest.mark.parametrize("version", FROM_7)
def test_the_invited_may_join_a_knock_room(make_room, version):
    room = make_room(version)
    room.join_rule("knock")
    room.has(BOB, "knock")
    assert room.refusal(room.member(BOB, "join")) == "member.join.not_invited"
    room.has(BOB, "invite")
    assert room.refusal(room.member(BOB, "join")) is None


RESTRICTED = [
    *(("restricted", version) for version in FROM_8),
    *(("knock_restricted", version) for version in FROM_10),
]


@pytest.fixture(params=RESTRICTED)
def restricted_room(request, make_room):
    rule, version = request.param
    room = make_room(version)
    room.has(CAROL, "join")
    room.levels(users={CAROL: 5}, invite=5)
    room.join_rule(rule)
    return room


@pytest.mark.parametrize("membership", ["invite", "join"])
def test_the_invited_and_the_joined_may_join_a_restricted_room(restricted_room, membership):
    restricted_room.has(BOB, membership)
    assert restricted_room.refusal(restricted_room.member(BOB, "join")) is None


@pytest.mark.parametrize("membership", [None, "leave", "knock"])
def test_a_member_who_may_invite_can_authorise_a_restricted_join(restricted_room, membership):
    if membership:
        restricted_room.has(BOB, membership)
    event = restricted_room.member(BOB, "join", join_authorised_via_users_server=CAROL)
    assert restricted_room.refusal(event) is None


@pytest.mark.parametrize("content", [{}, {AUTHORISED: None}, {AUTHORISED: "carol"}])
def test_a_restricted_join_without_authorising_user_is_refused(restricted_room, content):
    event = restricted_room.member(BOB, "join", **content)
    assert restricted_room.refusal(event) == "member.join.authorising_user"


def test_a_user_below_the_invite_level_cannot_authorise(restricted_room):
    restricted_room.levels(users={CAROL: 4}, invite=5)
    event = restricted_room.member(BOB, "join", join_authorised_via_users_server=CAROL)
    assert restricted_room.refusal(event) == "member.join.authorising_user"


@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock"])
def test_a_user_outside_the_room_cannot_authorise(restricted_room, membership):
    restricted_room.has(CAROL, membership)
    event = restricted_room.member(BOB, "join", join_authorised_via_users_server=CAROL)
    assert restricted_room.refusal(event) == "member.join.authorising_user"


# The creator's first join


@pytest.mark.parametrize("version", ALL)
def test_the_creator_may_join_right_after_the_create_event(make_room, version):
    room = make_room(version)
    del room.state["m.room.member", ALICE]
    event = room.member(ALICE, "join", prev_events=(room.create.event_id,))
    assert room.refusal(event) is None


@pytest.mark.parametrize("version", ALL)
def test_later_the_creator_needs_an_invite_like_others(make_room, version):
    room = make_room(version)
    del room.state["m.room.member", ALICE]
    assert room.refusal(room.member(ALICE, "join")) == "member.join.not_invited"
    two_parents = (room.create.event_id, "$other:one")
    event = room.member(ALICE, "join", prev_events=two_parents)
    assert room.refusal(event) == "member.join.not_invited"


@pytest.mark.parametrize("version", ALL)
def test_others_may_not_join_right_after_the_create_event(make_room, version):
    room = make_room(version, {"additional_creators": [BOB]})
    event = room.member(BOB, "join", prev_events=(room.create.event_id,))
    assert room.refusal(event) == "member.join.not_invited"


@pytest.mark.parametrize("version", BEFORE_11)
def test_before_version_11_the_content_says_who_the_creator_is(make_room, version):
    room = make_room(version, {"creator": BOB})
    first = {"prev_events": (room.create.event_id,)}
    del room.state["m.room.member", ALICE]
    assert room.refusal(room.member(BOB, "join", **first)) is None
    assert room.refusal(room.member(ALICE, "join", **first)) == "member.join.not_invited"


@pytest.mark.parametrize("version", ["11", "12"])
def test_from_version_11_on_the_creator_is_the_sender(make_room, version):
    room = make_room(version, {"creator": BOB})
    first = {"prev_events": (room.create.event_id,)}
    del room.state["m.room.member", ALICE]
    assert room.refusal(room.member(ALICE, "join", **first)) is None
    assert room.refusal(room.member(BOB, "join", **first)) == "member.join.not_invited"


# Inviting


@pytest.mark.parametrize("membership", [None, "leave", "invite", "knock"])
def test_a_member_may_invite_those_outside(room, membership):
    if membership:
        room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "invite", by=MALLORY)) is None


@pytest.mark.parametrize("membership", ["join", "ban"])
def test_the_joined_and_the_banned_cannot_be_invited(room, membership):
    room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "invite", by=MALLORY)) == "member.invite.target"


@pytest.mark.parametrize("membership", [None, "leave", "invite", "knock", "ban"])
def test_those_outside_cannot_invite(room, membership):
    if membership:
        room.has(CAROL, membership)
    assert room.refusal(room.member(BOB, "invite", by=CAROL)) == "member.invite.sender"


def test_an_invite_needs_the_invite_level(room):
    event = room.member(BOB, "invite", by=MALLORY)
    room.levels(users={MALLORY: 9}, invite=10)
    assert room.refusal(event) == "member.invite.level"
    room.levels(users={MALLORY: 10}, invite=10)
    assert room.refusal(event) is None


# Leaving, kicking, unbanning


@pytest.mark.parametrize("membership", ["join", "invite"])
def test_a_user_may_leave_or_decline(room, membership):
    room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "leave")) is None


@pytest.mark.parametrize("version", FROM_7)
def test_a_user_may_take_a_knock_back(make_room, version):
    room = make_room(version)
    room.has(BOB, "knock")
    assert room.refusal(room.member(BOB, "leave")) is None


@pytest.mark.parametrize("membership", [None, "leave", "ban"])
def test_a_user_outside_may_not_leave(room, membership):
    if membership:
        room.has(BOB, membership)
    assert room.refusal(room.member(BOB, "leave")) == "member.leave.own"


@pytest.mark.parametrize("membership", ["join", "invite", "knock", "leave"])
def test_a_user_may_kick_those_below(room, membership):
    room.has(BOB, membership)
    room.levels(users={MALLORY: 50, BOB: 49})
    assert room.refusal(room.member(BOB, "leave", by=MALLORY)) is None


def test_a_user_below_the_kick_level_may_not_kick(room):
    room.has(BOB, "join")
    room.levels(users={MALLORY: 49})
    assert room.refusal(room.member(BOB, "leave", by=MALLORY)) == "member.leave.level"


@pytest.mark.parametrize("level", [60, 61])
def test_a_user_may_not_kick_equals_and_superiors(room, level):
    room.has(BOB, "join")
    room.levels(users={MALLORY: 60, BOB: level})
    assert room.refusal(room.member(BOB, "leave", by=MALLORY)) == "member.leave.level"


def test_those_outside_may_not_kick(room):
    room.has(BOB, "join")
    room.levels(users={CAROL: 90})
    assert room.refusal(room.member(BOB, "leave", by=CAROL)) == "member.leave.sender"


@pytest.mark.parametrize(
    ("ban", "kick", "refusal"),
    [
        (50, 50, None),
        (51, 50, "member.leave.unban"),
        (50, 51, "member.leave.level"),
    ],
)
def test_unbanning_needs_the_ban_level_and_the_kick_level(room, ban, kick, refusal):
    room.has(BOB, "ban")
    room.levels(users={MALLORY: 50}, ban=ban, kick=kick)
    assert room.refusal(room.member(BOB, "leave", by=MALLORY)) == refusal


def test_kicking_does_not_need_the_ban_level(room):
    room.has(BOB, "join")
    room.levels(users={MALLORY: 50}, ban=51)
    assert room.refusal(room.member(BOB, "leave", by=MALLORY)) is None


def test_creators_of_version_12_cannot_remove_each_other(make_room):
    room = make_room("12", {"additional_creators": [BOB]})
    room.has(BOB, "join")
    assert room.refusal(room.member(BOB, "leave", by=ALICE)) == "member.leave.level"
    assert room.refusal(room.member(ALICE, "ban", by=BOB)) == "member.ban.level"


def test_nobody_can_remove_a_creator_of_version_12(make_room):
    room = make_room("12")
    room.has(BOB, "join")
    room.levels(users={BOB: 2**53 - 1})
    assert room.refusal(room.member(ALICE, "leave", by=BOB)) == "member.leave.level"
    assert room.refusal(room.member(BOB, "leave", by=ALICE)) is None


# Banning


@pytest.mark.parametrize("membership", [None, *MEMBERSHIPS])
def test_a_user_may_ban_those_below(room, membership):
    if membership:
        room.has(BOB, membership)
    room.levels(users={MALLORY: 50, BOB: 49})
    assert room.refusal(room.member(BOB, "ban", by=MALLORY)) is None


def test_a_user_below_the_ban_level_may_not_ban(room):
    room.levels(users={MALLORY: 49}, kick=0)
    assert room.refusal(room.member(BOB, "ban", by=MALLORY)) == "member.ban.level"


@pytest.mark.parametrize("level", [60, 61])
def test_a_user_may_not_ban_equals_and_superiors(room, level):
    room.levels(users={MALLORY: 60, BOB: level})
    assert room.refusal(room.member(BOB, "ban", by=MALLORY)) == "member.ban.level"


def test_a_user_may_not_ban_oneself(room):
    assert room.refusal(room.member(MALLORY, "ban")) == "member.ban.level"


@pytest.mark.parametrize("membership", [None, "leave", "invite", "knock", "ban"])
def test_those_outside_may_not_ban(room, membership):
    room.levels(users={CAROL: 90})
    if membership:
        room.has(CAROL, membership)
    assert room.refusal(room.member(BOB, "ban", by=CAROL)) == "member.ban.sender"


# Knocking


@pytest.mark.parametrize("version", BEFORE_7)
def test_knocking_is_unknown_before_version_7(make_room, version):
    room = make_room(version)
    room.join_rule("knock")
    assert room.refusal(room.member(BOB, "knock")) == "member.unknown"


KNOCKABLE = [
    *(("knock", version) for version in FROM_7),
    *(("knock_restricted", version) for version in FROM_10),
]


@pytest.fixture(params=KNOCKABLE)
def knock_room(request, make_room):
    rule, version = request.param
    room = make_room(version)
    room.join_rule(rule)
    return room


@pytest.mark.parametrize("membership", [None, "leave", "knock"])
def test_those_outside_may_knock(knock_room, membership):
    if membership:
        knock_room.has(BOB, membership)
    assert knock_room.refusal(knock_room.member(BOB, "knock")) is None


@pytest.mark.parametrize("membership", ["join", "invite", "ban"])
def test_the_joined_the_invited_and_the_banned_may_not_knock(knock_room, membership):
    knock_room.has(BOB, membership)
    assert knock_room.refusal(knock_room.member(BOB, "knock")) == "member.knock.membership"


def test_nobody_may_knock_for_another(knock_room):
    assert knock_room.refusal(knock_room.member(BOB, "knock", by=ALICE)) == "member.knock.sender"


@pytest.mark.parametrize("version", FROM_7)
@pytest.mark.parametrize("rule", ["public", "invite", "restricted", "private"])
def test_rooms_with_other_rules_take_no_knocks(make_room, version, rule):
    room = make_room(version)
    room.join_rule(rule)
    assert room.refusal(room.member(BOB, "knock")) == "member.knock.rule"


@pytest.mark.parametrize("version", ["7", "8", "9"])
def test_knock_restricted_takes_no_knocks_before_version_10(make_room, version):
    room = make_room(version)
    room.join_rule("knock_restricted")
    assert room.refusal(room.member(BOB, "knock")) == "member.knock.rule"


@pytest.mark.parametrize("version", FROM_7)
def test_a_room_without_join_rules_takes_no_knocks(make_room, version):
    room = make_room(version)
    assert room.refusal(room.member(BOB, "knock")) == "member.knock.rule"


# The signature of the authorising user's server


def citing_member(room, membership, **content):
    """A member event of Bob that cites what a member event must."""
    cited = [] if room.rules.version == "12" else [room.create]
    event = room.citing(
        *cited,
        event_type="m.room.member",
        content={"membership": membership, **content},
        sender=BOB,
        state_key=BOB,
    )
    return event, *cited


@pytest.mark.parametrize("version", FROM_8)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_the_authorising_server_must_have_signed(make_room, version, membership):
    room = make_room(version)
    event = citing_member(room, membership, join_authorised_via_users_server=CAROL)
    refusal = room.refusal_without_state(*event, signed_by={"two"})
    assert refusal == "member.authorising_signature"
    assert room.refusal_without_state(*event, signed_by={"two", "one"}) is None


@pytest.mark.parametrize("version", FROM_8)
@pytest.mark.parametrize("value", [None, 1, "", "carol", "@carol", "@carol:", [CAROL]])
def test_an_authorising_user_who_is_no_user_has_no_server(make_room, version, value):
    room = make_room(version)
    event = citing_member(room, "join", join_authorised_via_users_server=value)
    refusal = room.refusal_without_state(*event, signed_by={"two", "one", ""})
    assert refusal == "member.authorising_signature"


@pytest.mark.parametrize("version", FROM_8)
def test_a_member_event_without_authorising_user_needs_no_such_signature(make_room, version):
    room = make_room(version)
    assert room.refusal_without_state(*citing_member(room, "join")) is None


@pytest.mark.parametrize("version", BEFORE_8)
def test_the_authorising_user_means_nothing_before_version_8(make_room, version):
    room = make_room(version)
    event = citing_member(room, "join", join_authorised_via_users_server=CAROL)
    assert room.refusal_without_state(*event) is None
