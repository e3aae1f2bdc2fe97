"""Nodes tell each other what callers have taken from their buckets."""

from collections.abc import Callable

import pytest

from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.errors import LimitExceeded
from homeserver.services.shared_rate_limits import SharedRateLimits
from homeserver.telemetry.metrics import Metrics
from homeserver.web.endpoint import RateLimit
from homeserver.web.rate_limit import RateLimiter
from tests.support.clock import FakeClock

LOGIN = RateLimit.LOGIN
SIX_AT_ONCE = RateLimitsSection(
    groups=RateLimitGroups(login=RateLimitSettings(per_second=1, burst=6))
)


class OneBus:
    """What one node tells, all hear at once, itself too."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ears: list[Callable[[bytes], bool]] = []

    def announce(self, position: int) -> None:
        """Nobody listens to the log here."""

    def tell(self, message: bytes) -> None:
        self.messages.append(message)
        assert all(hear(message) for hear in self.ears)

    async def start(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
        """It runs."""

    async def stop(self) -> None:
        """It runs."""


class Node:
    def __init__(self, name: str, bus: OneBus, clock: FakeClock) -> None:
        self.limiter = RateLimiter(clock, Metrics(), SIX_AT_ONCE)
        self.shared = SharedRateLimits(self.limiter, bus, node_id=name)
        bus.ears.append(self.shared.heard)

    def takes(self, key: str) -> int:
        """Take until it is refused, and return how often it was not."""
        for count in range(100):
            try:
                self.limiter.take(LOGIN, key)
            except LimitExceeded:
                return count
        return 100


@pytest.fixture
def bus() -> OneBus:
    return OneBus()


@pytest.fixture
def nodes(bus: OneBus) -> tuple[Node, Node, Node]:
    clock = FakeClock()
    return Node("a", bus, clock), Node("b", bus, clock), Node("c", bus, clock)


async def test_what_is_taken_at_one_node_is_missing_at_all(nodes: tuple[Node, Node, Node]) -> None:
    here, there, elsewhere = nodes
    for _ in range(4):
        here.limiter.take(LOGIN, "alice")
    await here.shared.tell()
    assert there.takes("alice") == 2
    await there.shared.tell()
    assert (here.takes("alice"), elsewhere.takes("alice")) == (0, 0)
    # What was told is not told on, or again.
    await elsewhere.shared.tell()
    await here.shared.tell()
    assert here.takes("bob") == there.takes("bob") == 6


async def test_a_node_that_gives_nothing_says_nothing(
    bus: OneBus, nodes: tuple[Node, Node, Node]
) -> None:
    here = nodes[0]
    await here.shared.tell()
    here.takes("alice")
    await here.shared.tell()
    await here.shared.tell()
    assert len(bus.messages) == 1


async def test_refused_requests_are_not_told(bus: OneBus, nodes: tuple[Node, Node, Node]) -> None:
    here = nodes[0]
    here.takes("alice")
    await here.shared.tell()
    assert here.takes("alice") == 0
    await here.shared.tell()
    assert len(bus.messages) == 1


@pytest.mark.parametrize(
    "message",
    [b"taken", b"taken []", b'taken ["b",[["login","alice",-1]]]', b'taken ["b",[["x","a",1]]]'],
)
async def test_what_no_node_says_takes_nothing(
    nodes: tuple[Node, Node, Node], message: bytes
) -> None:
    here = nodes[0]
    assert here.shared.heard(message) is message.startswith(b"taken ")
    assert here.takes("alice") == 6
