"""Whether an entry concerns a follower may be a matter of memory: nothing is missed by it."""

from collections.abc import Sequence

from homeserver.streams.entries import LogEntry, UserEntry
from homeserver.streams.leases import LEASE_SECONDS
from tests.streams.nodes import StreamNode
from tests.streams.test_follower import Diary, eventually, make_table, settle, started, written
from tests.support.clock import FakeClock


class Names:
    """Knows the users whom the log has introduced as "+name": a cache that follows it."""

    def __init__(self, node: StreamNode) -> None:
        self.known: set[str] = set()
        node.tail.follow(self._take)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        users = [entry.user_id for entry in entries if isinstance(entry, UserEntry)]
        self.known.update(name.removeprefix("+") for name in users if name.startswith("+"))


class OfKnownUsers(Diary):
    """Writes down only what users do who are known."""

    names: Names

    def concerns(self, entry: LogEntry) -> bool:
        return isinstance(entry, UserEntry) and entry.user_id in self.names.known


async def test_what_one_batch_tells_the_cache_counts_for_the_rest_of_it(node: StreamNode) -> None:
    """The followers of the node are there before the cache that their work asks."""
    await make_table(node)
    diary = OfKnownUsers(node)
    diary.names = Names(node)
    node.followers.add("diary", diary)
    await node.followers.start()
    await node.changes("-nobody")
    await settle()
    await node.changes_silently("+a")
    await node.changes_silently("a")
    await node.tail.poll()
    await diary.has(1)
    assert diary.handled == ["a"]


async def test_only_who_has_the_lease_passes_over_what_concerns_nobody(
    node: StreamNode, other: StreamNode, clock: FakeClock
) -> None:
    """A node that has had the lease before thinks wrong of what it does not work on."""
    heir = await started(other)
    await other.changes("a")
    await heir.has(1)
    await started(node)
    await other.followers.renew()
    mine = node.followers._followers["diary"]

    async def is_handed_over() -> bool:
        await node.followers.renew()
        return mine.holds_lease

    await eventually(is_handed_over, node, clock)

    await node.tasks.stop()  # It dies.
    heir.concerns = lambda entry: False  # type: ignore[method-assign]  # for a while
    await other.changes("b")
    del heir.concerns
    clock.tick(LEASE_SECONDS)
    await other.followers.renew()
    await heir.has(2)
    assert await written(node) == ["a", "b"]
