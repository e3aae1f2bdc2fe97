import pytest

from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALL = [str(number) for number in range(1, 13)]
BEFORE_12 = ALL[:11]
BEFORE_8 = ALL[:7]
FROM_8 = ALL[7:]

CREATE = ("m.room.create", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")


def member(user_id):
    return ("m.room.member", user_id)


def select(version, event_type, sender="@alice:one", state_key=None, **content):
    return select_auth_events(event_type, sender, state_key, content, ROOM_VERSIONS[version])


def select_member(version, membership, target="@bob:two", **content):
    """Without the create event, which is another test's business."""
    keys = select(version, "m.room.member", state_key=target, membership=membership, **content)
    return [key for key in keys if key != CREATE]


@pytest.mark.parametrize("version", ALL)
def test_the_create_event_cites_nothing(version):
    assert select(version, "m.room.create", state_key="") == []


@pytest.mark.parametrize("version", BEFORE_12)
def test_a_message_cites_create_levels_and_sender(version):
    assert select(version, "m.room.message") == [CREATE, LEVELS, member("@alice:one")]


def test_version_12_does_not_cite_the_create_event():
    assert select("12", "m.room.message") == [LEVELS, member("@alice:one")]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["invite", "knock", "join"])
def test_entering_cites_the_target_and_the_join_rules(version, membership):
    assert select_member(version, membership) == [
        LEVELS,
        member("@alice:one"),
        member("@bob:two"),
        RULES,
    ]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["leave", "ban", "unheard-of", None, ["join"], {}])
def test_other_memberships_cite_no_join_rules(version, membership):
    keys = select_member(version, membership)
    assert keys == [LEVELS, member("@alice:one"), member("@bob:two")]


@pytest.mark.parametrize("version", ALL)
def test_a_user_who_is_sender_and_target_is_cited_once(version):
    assert select_member(version, "leave", "@alice:one") == [LEVELS, member("@alice:one")]


@pytest.mark.parametrize("version", ALL)
def test_an_invite_cites_the_third_party_invite_it_answers(version):
    answer = {"signed": {"token": "abc"}}
    assert select_member(version, "invite", third_party_invite=answer)[-2:] == [
        RULES,
        ("m.room.third_party_invite", "abc"),
    ]


@pytest.mark.parametrize("membership", ["join", "leave"])
def test_only_invites_cite_third_party_invites(membership):
    answer = {"signed": {"token": "abc"}}
    keys = select_member("11", membership, third_party_invite=answer)
    assert ("m.room.third_party_invite", "abc") not in keys


@pytest.mark.parametrize(
    "answer", [None, "abc", [], {}, {"signed": "abc"}, {"signed": {}}, {"signed": {"token": 1}}]
)
def test_a_malformed_third_party_invite_is_not_followed(answer):
    assert select_member("11", "invite", third_party_invite=answer)[-1] == RULES


@pytest.mark.parametrize("version", FROM_8)
def test_a_restricted_join_cites_the_authorising_user(version):
    keys = select_member(version, "join", join_authorised_via_users_server="@carol:three")
    assert keys[-2:] == [RULES, member("@carol:three")]


@pytest.mark.parametrize("version", BEFORE_8)
def test_versions_without_restricted_joins_cite_no_authorising_user(version):
    keys = select_member(version, "join", join_authorised_via_users_server="@carol:three")
    assert keys[-1] == RULES


@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock"])
def test_only_joins_cite_the_authorising_user(membership):
    keys = select_member("11", membership, join_authorised_via_users_server="@carol:three")
    assert member("@carol:three") not in keys


def test_an_authorising_user_who_is_no_string_is_not_cited():
    keys = select_member("11", "join", join_authorised_via_users_server=["@carol:three"])
    assert keys[-1] == RULES


@pytest.mark.parametrize("version", ALL)
def test_a_member_event_without_state_key_is_refused(version):
    with pytest.raises(AuthRefusal) as caught:
        select(version, "m.room.member", membership="join")
    assert caught.value.rule == "member.state_key"
