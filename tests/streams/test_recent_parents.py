from collections.abc import Callable, Sequence
from typing import Any

from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.storage.event_writes import HAS_CHILDREN
from homeserver.storage.events import EventRecord
from homeserver.streams import recent_parents
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.recent_parents import RecentParents


class FakeTail:
    """Only what a follower sees of the tail."""

    def __init__(self, *, floor: int = 0, position: int = 0) -> None:
        self.floor = floor
        self.position = position
        self.take: Callable[[Sequence[LogEntry]], None]
        self.reset: Callable[[], None]

    def follow(
        self, follower: Callable[[Sequence[LogEntry]], None], *, on_gap: Callable[[], None]
    ) -> None:
        self.take, self.reset = follower, on_gap


def record(event_id: str, pos: int, **facts: Any) -> EventRecord:
    values: dict[str, Any] = dict.fromkeys(EventRecord._fields)
    values |= {"event_id": EventID(event_id), "pos": pos, "flags": 0, "core": b'{"content":{}}'}
    return EventRecord(**(values | facts))


def child(of: str, pos: int) -> EventEntry:
    core = b'{"content":{"m.relates_to":{"event_id":"%b","rel_type":"m.x"}}}' % of.encode()
    return EventEntry(record(f"$child{pos}", pos, core=core), RoomID("!room"), ())


def following(tail: FakeTail) -> RecentParents:
    return RecentParents(tail)  # type: ignore[arg-type]  # a tail as far as it is asked


def test_an_event_that_another_relates_to_is_known():
    tail = FakeTail()
    parents = following(tail)
    tail.take([EventEntry(record("$1", 1), RoomID("!room"), ()), child("$1", 2)])
    assert parents.may_have_bundle(record("$1", 1))
    assert not parents.may_have_bundle(record("$child2", 2))
    assert not parents.may_have_bundle(record("$1", 1, state_key=""))


def test_what_is_no_relation_marks_nothing():
    tail = FakeTail()
    parents = following(tail)
    for relates_to in (b"[]", b"{}", b'{"event_id":7,"rel_type":"m.x"}', b'"$1"'):
        core = b'{"content":{"m.relates_to":%b}}' % relates_to
        tail.take([EventEntry(record("$x", 2, core=core), RoomID("!room"), ())])
    assert not parents.may_have_bundle(record("$1", 1))


def test_an_event_that_is_marked_needs_no_memory():
    parents = following(FakeTail())
    assert parents.may_have_bundle(record("$1", 1, flags=HAS_CHILDREN))


def test_entries_from_before_are_not_trusted():
    parents = following(FakeTail(floor=3, position=5))
    assert [parents.may_have_bundle(record("$1", pos)) for pos in (3, 4, 5, 6)] == [
        False,
        True,
        True,
        False,
    ]


def test_what_the_tail_has_dropped_is_forgotten(monkeypatch):
    monkeypatch.setattr(recent_parents, "MAX_PARENTS", 2)
    tail = FakeTail()
    parents = following(tail)
    tail.take([child("$1", 1), child("$2", 2)])
    tail.floor = 1
    tail.take([child("$3", 3)])
    known = [parents.may_have_bundle(record(event_id, 1)) for event_id in ("$1", "$2", "$3")]
    assert known == [False, True, True]
    tail.reset()
    assert not parents.may_have_bundle(record("$3", 3))
