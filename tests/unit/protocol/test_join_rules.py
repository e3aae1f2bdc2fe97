import pytest

from homeserver.protocol.join_rules import JoinRule, parse_join_rules
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALL = [str(number) for number in range(1, 13)]
FIRST_VERSION = {
    "public": 1,
    "invite": 1,
    "private": 1,
    "knock": 7,
    "restricted": 8,
    "knock_restricted": 10,
}


def parse(version, content):
    return parse_join_rules(content, ROOM_VERSIONS[version])


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("stated", FIRST_VERSION)
def test_a_rule_exists_from_its_first_version_on(version, stated):
    is_known = int(version) >= FIRST_VERSION[stated]
    expected = JoinRule(stated) if is_known else JoinRule.UNSUPPORTED
    assert parse(version, {"join_rule": stated}).rule is expected


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("content", [None, {}, {"allow": []}])
def test_the_default_is_invite(version, content):
    assert parse(version, content).rule is JoinRule.INVITE


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("stated", [None, 1, "", "PUBLIC", "unsupported", ["public"], {}])
def test_anything_else_is_unsupported(version, stated):
    assert parse(version, {"join_rule": stated}).rule is JoinRule.UNSUPPORTED


@pytest.mark.parametrize(
    ("stated", "is_public", "admits_invited", "admits_authorised", "admits_knocks"),
    [
        ("public", True, False, False, False),
        ("invite", False, True, False, False),
        ("knock", False, True, False, True),
        ("restricted", False, True, True, False),
        ("knock_restricted", False, True, True, True),
        ("private", False, False, False, False),
        ("unheard-of", False, False, False, False),
    ],
)
def test_what_a_rule_admits(stated, is_public, admits_invited, admits_authorised, admits_knocks):
    join_rules = parse("12", {"join_rule": stated})
    assert join_rules.is_public == is_public
    assert join_rules.admits_invited == admits_invited
    assert join_rules.admits_authorised == admits_authorised
    assert join_rules.admits_knocks == admits_knocks


def member_of(room_id):
    return {"type": "m.room_membership", "room_id": room_id}


@pytest.mark.parametrize("stated", ["restricted", "knock_restricted"])
def test_allowed_rooms_are_in_order_and_without_repetition(stated):
    without_domain = "!" + "a" * 43
    allow = [member_of("!b:one"), member_of(without_domain), member_of("!b:one")]
    join_rules = parse("12", {"join_rule": stated, "allow": allow})
    assert join_rules.allowed_rooms() == ("!b:one", without_domain)


@pytest.mark.parametrize(
    "condition",
    [
        None,
        "!a:one",
        {},
        {"room_id": "!a:one"},
        {"type": "org.example.moon", "room_id": "!a:one"},
        {"type": "m.room_membership"},
        member_of(None),
        member_of("a:one"),
    ],
)
def test_conditions_that_nobody_can_meet_are_left_out(condition):
    allow = [condition, member_of("!b:one")]
    join_rules = parse("12", {"join_rule": "restricted", "allow": allow})
    assert join_rules.allowed_rooms() == ("!b:one",)


@pytest.mark.parametrize("allow", [None, {}, "!a:one", 1])
def test_a_malformed_list_allows_no_room(allow):
    assert parse("12", {"join_rule": "restricted", "allow": allow}).allowed_rooms() == ()


@pytest.mark.parametrize("stated", ["public", "invite", "knock", "private"])
def test_other_rules_allow_no_room(stated):
    join_rules = parse("12", {"join_rule": stated, "allow": [member_of("!a:one")]})
    assert join_rules.allowed_rooms() == ()


@pytest.mark.parametrize(("version", "rule"), [("7", "restricted"), ("9", "knock_restricted")])
def test_a_restricted_rule_that_the_version_lacks_allows_no_room(version, rule):
    join_rules = parse(version, {"join_rule": rule, "allow": [member_of("!a:one")]})
    assert join_rules.allowed_rooms() == ()
