"""Who may see an event."""

import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.history_visibility import (
    HistoryVisibility,
    may_see,
    parse_history_visibility,
)
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject

WORLD = HistoryVisibility.WORLD_READABLE
SHARED = HistoryVisibility.SHARED
INVITED = HistoryVisibility.INVITED
JOINED = HistoryVisibility.JOINED
ALICE, BOB = UserID("@alice:example.org"), UserID("@bob:example.net")


def event(event_type: str, content: JsonObject, state_key: str | None = None) -> Event:
    return Event(
        event_id=EventID("$event"),
        room_id=RoomID("!room:example.org"),
        room_version="12",
        type=event_type,
        sender=ALICE,
        content=content,
        origin_server_ts=0,
        depth=1,
        prev_events=(),
        auth_events=(),
        pdu={},
        state_key=state_key,
    )


MESSAGE = event("m.room.message", {"body": "hello"})


def bob_sees(
    seen: Event,
    visibility: HistoryVisibility,
    membership: str | None,
    *,
    joined_since: bool = False,
) -> bool:
    return may_see(
        seen, BOB, visibility=visibility, membership=membership, joined_since=joined_since
    )


@pytest.mark.parametrize("visibility", list(HistoryVisibility))
def test_the_values_of_the_event_are_understood(visibility: HistoryVisibility) -> None:
    assert parse_history_visibility({"history_visibility": visibility.value}) is visibility


@pytest.mark.parametrize(
    "content", [None, {}, {"history_visibility": "secret"}, {"history_visibility": ["joined"]}]
)
def test_what_is_not_set_or_not_understood_is_shared(content: JsonObject | None) -> None:
    assert parse_history_visibility(content) is SHARED


@pytest.mark.parametrize("membership", [None, "join", "invite", "knock", "leave", "ban"])
def test_everybody_sees_what_is_world_readable(membership: str | None) -> None:
    assert bob_sees(MESSAGE, WORLD, membership)


@pytest.mark.parametrize("visibility", list(HistoryVisibility))
def test_members_see_what_happens_while_they_are_joined(visibility: HistoryVisibility) -> None:
    assert bob_sees(MESSAGE, visibility, "join")


@pytest.mark.parametrize("membership", [None, "invite", "knock", "leave", "ban"])
def test_shared_events_are_seen_by_who_joins_later_and_only_then(membership: str | None) -> None:
    assert bob_sees(MESSAGE, SHARED, membership, joined_since=True)
    assert not bob_sees(MESSAGE, SHARED, membership)


@pytest.mark.parametrize("joined_since", [False, True])
def test_invited_users_see_invited_events(joined_since: bool) -> None:
    assert bob_sees(MESSAGE, INVITED, "invite", joined_since=joined_since)


@pytest.mark.parametrize("membership", [None, "knock", "leave", "ban"])
def test_others_do_not_see_invited_events_whatever_they_do_later(membership: str | None) -> None:
    assert not bob_sees(MESSAGE, INVITED, membership, joined_since=True)


@pytest.mark.parametrize("membership", [None, "invite", "knock", "leave", "ban"])
def test_only_members_see_joined_events(membership: str | None) -> None:
    assert not bob_sees(MESSAGE, JOINED, membership, joined_since=True)


@pytest.mark.parametrize(
    ("before", "after", "sees"),
    [(WORLD, JOINED, True), (JOINED, WORLD, True), (INVITED, JOINED, False)],
)
def test_a_change_of_visibility_is_seen_by_the_more_open_of_before_and_after(
    before: HistoryVisibility, after: HistoryVisibility, sees: bool
) -> None:
    change = event("m.room.history_visibility", {"history_visibility": after.value}, "")
    assert bob_sees(change, before, None) is sees


def test_a_change_of_visibility_to_nonsense_is_a_change_to_shared() -> None:
    change = event("m.room.history_visibility", {"history_visibility": 1}, "")
    assert bob_sees(change, JOINED, None, joined_since=True)
    assert not bob_sees(change, JOINED, None)


@pytest.mark.parametrize("state_key", [None, "x"])
def test_an_event_that_only_looks_like_a_change_of_visibility_changes_nothing(
    state_key: str | None,
) -> None:
    lookalike = event(
        "m.room.history_visibility", {"history_visibility": "world_readable"}, state_key
    )
    assert not bob_sees(lookalike, JOINED, None)


@pytest.mark.parametrize(
    ("before", "after", "sees"),
    [
        (None, "join", True),
        ("join", "leave", True),
        ("join", "ban", True),
        ("invite", "leave", False),
        (None, "invite", False),
    ],
)
def test_users_see_their_own_membership_by_what_it_was_or_becomes(
    before: str | None, after: str, sees: bool
) -> None:
    own = event("m.room.member", {"membership": after}, BOB)
    assert bob_sees(own, JOINED, before) is sees


def test_an_invitation_is_seen_where_invited_users_see_events() -> None:
    assert bob_sees(event("m.room.member", {"membership": "invite"}, BOB), INVITED, None)


def test_the_membership_of_others_opens_nothing() -> None:
    other = event("m.room.member", {"membership": "join"}, ALICE)
    assert not bob_sees(other, JOINED, "leave")
