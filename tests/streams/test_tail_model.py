"""The tail is the log, whatever is written where and heard when."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.streams.entries import LogEntry
from homeserver.streams.log_reader import LogReader
from homeserver.streams.tail import Tail
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.streams.log_model import LogModel, Written, told
from tests.support.clock import FakeClock

# An entry: its room (0: a change of a user), and how far back what it replaces or redacts is.
entry_plans = st.tuples(
    st.sampled_from([1, 1, 1, 2, 0]),
    st.sampled_from(["redacts", "replaces", ""]),
    st.integers(1, 4),
)
batches = st.lists(entry_plans, min_size=1, max_size=4)
# After how many more steps a commit is published, or heard of; None: never.
delays = st.sampled_from([0, 0, 0, 1, 3])
steps = st.one_of(
    st.tuples(st.just("own"), batches, delays, st.integers(0, 6)),
    st.tuples(st.just("foreign"), batches, delays | st.none()),
    st.tuples(st.just("run"), st.integers(1, 12)),
    st.tuples(st.just("poll")),
    st.tuples(st.just("lie"), st.integers(1, 10**6)),
)


class Play:
    """Plays steps to a tail and to a model of the log."""

    def __init__(self, tail: Tail, log: LogModel) -> None:
        self._tail = tail
        self._log = log
        # (steps to go, what happens then), own commits in their order.
        self._later: list[tuple[int, Callable[[], None]]] = []
        self.followed: list[LogEntry] = []
        tail.follow(self.followed.extend, on_gap=self.followed.clear)

    async def own(self, plans: Sequence[tuple[int, str, int]], delay: int, ignorance: int) -> None:
        base = len(self._log.written)
        written = self._commit(plans)
        # Entries are built before they are committed, and may not know what was just written.
        entries = [self._log.own_entry(each, known=base - ignorance) for each in written]
        upto = len(self._log.written)
        self._do_later(delay, lambda: self._tail.committed(base, entries, upto))

    async def foreign(self, plans: Sequence[tuple[int, str, int]], delay: int | None) -> None:
        self._commit(plans)
        upto = len(self._log.written)
        if delay is not None:
            self._do_later(delay, lambda: self._tail.heard(upto))

    async def run(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def poll(self) -> None:
        await self._tail.poll()

    async def lie(self, ahead: int) -> None:
        self._tail.heard(len(self._log.written) + ahead)

    def end_step(self) -> None:
        due = [act for steps_left, act in self._later if steps_left == 0]
        self._later = [(left - 1, act) for left, act in self._later if left > 0]
        for act in due:
            act()

    def _do_later(self, delay: int, act: Callable[[], None]) -> None:
        # Nothing overtakes what is on its way already, as in a connection.
        delay = max([delay, *(left for left, _ in self._later)])
        self._later.append((delay, act))

    async def end(self) -> None:
        while self._later:
            self.end_step()
        await self._tail.poll()
        await self._tail.reach(len(self._log.written))

    def _commit(self, plans: Sequence[tuple[int, str, int]]) -> list[Written]:
        written = []
        for room_nid, what, distance in plans:
            pos = len(self._log.written) + 1
            target = pos - distance
            is_there = target >= 1 and self._log.written[target - 1].room_nid == room_nid > 0
            each = Written(
                pos,
                room_nid,
                redacts=target if is_there and what == "redacts" else None,
                replaces=target if is_there and what == "replaces" else None,
            )
            self._log.append(each)
            written.append(each)
        return written


async def play(
    plan: Sequence[tuple[object, ...]], pace: int, turns: int, max_entries: int, max_gap: int
) -> None:
    log = LogModel()
    log.turns_to_read = turns
    tasks = Tasks(FakeClock(), Metrics())
    tail = Tail(cast(LogReader, log), tasks, max_entries=max_entries, max_gap=max_gap)
    await tail.start()
    player = Play(tail, log)
    for name, *arguments in plan:
        await getattr(player, str(name))(*arguments)
        player.end_step()
        await player.run(pace)
        seen = [entry.pos for entry in tail.entries_after(tail.floor)]
        assert seen == list(range(tail.floor + 1, tail.position + 1))
        assert tail.position <= len(log.written)
    await player.end()
    assert tail.position == len(log.written)
    there = await log.read(tail.floor, tail.position)
    kept = tail.entries_after(tail.floor)
    assert [told(entry) for entry in kept] == [told(entry) for entry in there]
    for room_nid in (1, 2):
        of_room = [entry for entry in kept if getattr(entry, "room_nid", 0) == room_nid]
        assert tail.room_entries(room_nid, tail.floor, tail.position) == of_room
        assert tail.last_position_of(room_nid) == (of_room[-1].pos if of_room else 0)
    assert all(entry in kept for entry in tail._redactions.values())
    followed = [entry.pos for entry in player.followed]
    assert followed == list(range(tail.position - len(followed) + 1, tail.position + 1))
    assert len(followed) >= len(kept)
    await tasks.stop()


@settings(max_examples=500, deadline=None)
@given(
    plan=st.lists(steps, max_size=30),
    # How far things get between two steps; how long a read takes.
    pace=st.sampled_from([0, 3, 30]),
    turns=st.integers(0, 5),
    max_entries=st.sampled_from([5, 1_000]),
    max_gap=st.sampled_from([6, 1_000]),
)
def test_the_tail_is_the_log(
    plan: list[tuple[object, ...]], pace: int, turns: int, max_entries: int, max_gap: int
) -> None:
    asyncio.run(play(plan, pace, turns, max_entries, max_gap))
