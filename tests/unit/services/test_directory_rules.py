from homeserver.config.sections.room_directory import DirectoryRule, RoomDirectorySection
from homeserver.protocol.identifiers import RoomAlias, RoomID, UserID
from homeserver.services.directory_rules import DirectoryRules

ALICE, BOB = UserID("@alice:hs.example"), UserID("@bob:hs.example")
ROOM = RoomID("!room:hs.example")
PUB, ADMIN = RoomAlias("#pub:hs.example"), RoomAlias("#admin:hs.example")


def publication(*rules):
    return DirectoryRules(RoomDirectorySection(publication_rules=rules))


def allow(**patterns):
    return DirectoryRule(action="allow", **patterns)


def deny(**patterns):
    return DirectoryRule(action="deny", **patterns)


def test_without_rules_everything_is_allowed():
    rules = DirectoryRules(RoomDirectorySection())
    assert rules.may_publish(ALICE, ROOM, [])
    assert rules.may_make_alias(ALICE, ROOM, PUB)


def test_what_no_rule_fits_is_denied():
    rules = publication(allow(user="@alice:*"))
    assert rules.may_publish(ALICE, ROOM, [])
    assert not rules.may_publish(BOB, ROOM, [])


def test_the_first_rule_that_fits_decides():
    assert not publication(deny(user="@a*"), allow()).may_publish(ALICE, ROOM, [])
    assert publication(allow(user="@alice*"), deny()).may_publish(ALICE, ROOM, [])


def test_all_patterns_of_a_rule_must_fit():
    rules = publication(allow(user="@alice:*", room="!room:*", alias="#pub:*"))
    assert rules.may_publish(ALICE, ROOM, [ADMIN, PUB])
    assert not rules.may_publish(BOB, ROOM, [PUB])
    assert not rules.may_publish(ALICE, RoomID("!other:hs.example"), [PUB])
    assert not rules.may_publish(ALICE, ROOM, [ADMIN])


def test_a_rule_about_an_alias_does_not_fit_a_room_without_one():
    assert publication(deny(alias="#admin:*"), allow()).may_publish(ALICE, ROOM, [])
    assert publication(allow(alias="*")).may_publish(ALICE, ROOM, [])


def test_a_room_that_has_no_id_yet_fits_only_patterns_for_all_rooms():
    assert publication(allow()).may_publish(ALICE, None, [])
    assert not publication(allow(room="!*")).may_publish(ALICE, None, [])


def test_rules_about_aliases_and_publication_are_apart():
    section = RoomDirectorySection(alias_rules=(deny(),), publication_rules=(allow(),))
    rules = DirectoryRules(section)
    assert rules.may_publish(ALICE, ROOM, [PUB])
    assert not rules.may_make_alias(ALICE, ROOM, PUB)
