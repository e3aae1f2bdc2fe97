"""Whoever waits is woken by what may concern them, and by nothing else."""

from collections.abc import Iterable

import pytest

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.streams.entries import EventEntry, LogEntry, UserEntry
from homeserver.streams.notifier import Notifier, Waiter
from homeserver.streams.tail import Tail
from tests.streams.log_model import LogModel, Written, record_of
from tests.streams.test_tail import tail_of

ALICE, BOB = UserID("@alice:test"), UserID("@bob:test")


@pytest.fixture
def tail() -> Tail:
    return tail_of(LogModel())


@pytest.fixture
def notifier(tail: Tail) -> Notifier:
    return Notifier(tail)


def event(
    pos: int, room_nid: int, event_type: str = "m.test", state_key: str | None = None
) -> LogEntry:
    record = record_of(Written(pos, room_nid), core=b"{}", replaced_core=None)
    record = record._replace(type=event_type, state_key=state_key)
    return EventEntry(record, RoomID(f"!{room_nid}"), ())


def commit(tail: Tail, *entries: LogEntry) -> None:
    tail.committed(tail.position, entries, tail.position + len(entries))


def is_woken(waiters: Iterable[Waiter]) -> list[bool]:
    return [waiter.future.done() for waiter in waiters]


async def test_an_event_wakes_those_who_are_in_its_room(tail: Tail, notifier: Notifier) -> None:
    waiters = [
        notifier.begin_waiting(ALICE, [1, 2]),
        notifier.begin_waiting(BOB, [2]),
        notifier.begin_waiting(BOB, []),
    ]
    commit(tail, event(1, 1))
    assert is_woken(waiters) == [True, False, False]
    commit(tail, event(2, 2))
    assert is_woken(waiters) == [True, True, False]


async def test_a_member_event_wakes_the_user_who_is_not_in_the_room(
    tail: Tail, notifier: Notifier
) -> None:
    waiters = [notifier.begin_waiting(ALICE, []), notifier.begin_waiting(BOB, [])]
    commit(tail, event(1, 1, "m.room.member", BOB))
    assert is_woken(waiters) == [False, True]


async def test_a_state_key_that_names_a_user_wakes_nobody_by_itself(
    tail: Tail, notifier: Notifier
) -> None:
    waiter = notifier.begin_waiting(BOB, [])
    commit(tail, event(1, 1, "m.room.power_levels", BOB), event(2, 1, "m.room.member", ""))
    assert is_woken([waiter]) == [False]


async def test_a_change_of_a_user_wakes_all_requests_of_the_user(
    tail: Tail, notifier: Notifier
) -> None:
    waiters = [
        notifier.begin_waiting(ALICE, [1]),
        notifier.begin_waiting(ALICE, []),
        notifier.begin_waiting(BOB, [1]),
    ]
    commit(tail, UserEntry(1, ALICE, "kind", None, None))
    assert is_woken(waiters) == [True, True, False]


async def test_a_gap_wakes_everybody() -> None:
    log = LogModel()
    tail = tail_of(log, max_gap=1)
    notifier = Notifier(tail)
    waiters = [notifier.begin_waiting(ALICE, [1]), notifier.begin_waiting(BOB, [])]
    for pos in (1, 2, 3):
        log.append(Written(pos, 0))
    await tail.reach(3)
    assert is_woken(waiters) == [True, True]


async def test_who_has_ended_the_wait_is_not_woken_and_leaves_nothing_behind(
    tail: Tail, notifier: Notifier
) -> None:
    one, two = notifier.begin_waiting(ALICE, [1]), notifier.begin_waiting(ALICE, [1, 2])
    notifier.end_waiting(one)
    assert notifier.waiting() == 1
    commit(tail, event(1, 1))
    assert is_woken([one, two]) == [False, True]
    notifier.end_waiting(two)
    assert notifier.waiting() == 0
    assert (notifier._by_user, notifier._by_room) == ({}, {})


async def test_who_is_woken_twice_or_has_gone_away_is_no_trouble(
    tail: Tail, notifier: Notifier
) -> None:
    gone, there = notifier.begin_waiting(ALICE, [1]), notifier.begin_waiting(BOB, [1])
    gone.future.cancel()
    commit(tail, event(1, 1), event(2, 1), UserEntry(3, BOB, "kind", None, None))
    assert there.future.done()
    notifier.wake_all()
    for waiter in (gone, there):
        notifier.end_waiting(waiter)
    assert notifier.waiting() == 0
