"""Reporting content. Spec: client-server-api/#reporting-content"""

import pytest

from homeserver.services.reports import MAX_REASON, Reports
from tests.support.client import answer_of, quoted
from tests.support.server import SERVER_NAME

NOT_FOUND = (404, "M_NOT_FOUND")


@pytest.fixture
def reports(server):
    base = server.base
    return Reports(base.database, server.rooms.access, base.clock, base.metrics)


@pytest.fixture
async def room(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    return room


def event_path(room, event):
    return f"rooms/{quoted(room)}/report/{quoted(event)}"


async def test_a_report_of_an_event_is_kept_until_it_is_closed(alice, bob, room, reports):
    event = await alice.sends(room, "rude words")
    assert await bob.post(event_path(room, event), {"reason": "rude", "score": -100}) == {}
    (report,) = await reports.page(0, with_closed=False)
    assert report.reporter == bob.user_id
    assert (report.room_id, report.event_id, report.user_id) == (room, event, alice.user_id)
    assert report.reason == "rude"
    assert await reports.close([report.report_nid, 999]) == [report.report_nid]
    assert await reports.close([report.report_nid]) == []
    assert await reports.page(0, with_closed=False) == []
    (closed,) = await reports.page(0, with_closed=True)
    assert closed.closed_ts is not None


async def test_reports_of_events_need_membership_and_tell_nobody_else_what_there_is(
    alice, bob, carol, room
):
    event = await alice.sends(room, "hello")
    elsewhere = await alice.creates_room()
    hidden = await alice.sends(elsewhere, "hello")
    assert await answer_of(carol.post(event_path(room, event), {})) == NOT_FOUND
    assert await answer_of(bob.post(event_path(elsewhere, hidden), {})) == NOT_FOUND
    # An event of another room.
    assert await answer_of(bob.post(event_path(room, hidden), {})) == NOT_FOUND
    assert await answer_of(bob.post(event_path(room, "$unknown"), {})) == NOT_FOUND
    assert await answer_of(bob.post(event_path("!unknown:x.example", event), {})) == NOT_FOUND
    await bob.leaves(room)
    assert await answer_of(bob.post(event_path(room, event), {})) == NOT_FOUND


async def test_rooms_and_users_are_reported_by_whoever_met_them(alice, bob, carol, room, reports):
    assert await carol.post(f"rooms/{quoted(room)}/report", {"reason": ""}) == {}
    assert await carol.post(f"users/{quoted(alice.user_id)}/report", {"reason": "rude"}) == {}
    by_room, by_user = await reports.page(0, with_closed=False)
    assert (by_room.room_id, by_room.event_id, by_room.user_id) == (room, None, None)
    assert (by_user.room_id, by_user.event_id, by_user.user_id) == (None, None, alice.user_id)


async def test_nobody_finds_out_by_reports_which_rooms_and_users_there_are(carol, reports):
    unknown = f"!unknown:{SERVER_NAME}"
    assert await carol.post(f"rooms/{quoted(unknown)}/report", {"reason": "bad"}) == {}
    assert await carol.post(f"users/@nobody:{SERVER_NAME}/report", {"reason": "bad"}) == {}
    assert await reports.page(0, with_closed=True) == []


async def test_long_reasons_are_cut(carol, alice, reports):
    reason = {"reason": "x" * (MAX_REASON + 10)}
    await carol.post(f"users/{quoted(alice.user_id)}/report", reason)
    (report,) = await reports.page(0, with_closed=False)
    assert report.reason == "x" * MAX_REASON


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("rooms/!a:b/report", {}, (400, "M_MISSING_PARAM")),
        ("rooms/!a:b/report", {"reason": None}, (400, "M_BAD_JSON")),
        ("rooms/!a:b/report", {"reason": 7}, (400, "M_BAD_JSON")),
        ("rooms/!a:b/report", {"reason": "a\0b"}, (400, "M_INVALID_PARAM")),
        ("rooms/nothing/report", {"reason": ""}, (400, "M_INVALID_PARAM")),
        ("users/@a:b/report", {}, (400, "M_MISSING_PARAM")),
        ("users/a/report", {"reason": ""}, (400, "M_INVALID_PARAM")),
        ("rooms/!a:b/report/$c", {"reason": 7}, (400, "M_BAD_JSON")),
        ("rooms/!a:b/report/c", {"reason": ""}, (400, "M_INVALID_PARAM")),
        ("rooms/!a:b/report/$c", {"reason": ""}, NOT_FOUND),
    ],
)
async def test_bad_reports_are_refused(alice, clients, path, body, expected):
    assert await answer_of(alice.post(path, body)) == expected
    assert await answer_of(clients.nobody().post(path, body)) == (401, "M_MISSING_TOKEN")
