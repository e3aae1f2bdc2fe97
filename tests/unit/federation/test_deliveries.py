"""Which destinations are worked on, and when those that fail are tried again."""

import pytest

from federation.sending.catch_up import Page
from federation.sending.delivery import Deliveries
from federation.sending.outbox import PduItem
from federation.sending.shards import Shard
from federation.sending.transactions import Contents
from homeserver.protocol.identifiers import ServerName
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.support.clock import FakeClock

FAR = ServerName("far.example")


class Peers:
    """Stands for the database and the network."""

    def __init__(self, clock):
        self._clock = clock
        self.retry_after_ms = 0
        self.is_database_away = False
        self.sent = []

    async def load(self, servers):
        if self.is_database_away and servers:
            raise ConnectionError

    async def retry_ts(self, _server):
        return self._clock.now_ms() + self.retry_after_ms if self.retry_after_ms else None

    async def page(self, _destination, after, upto, _limit):
        return Page([PduItem(pos, pos) for pos in range(after + 1, upto + 1)], upto)

    async def fill(self, _outbox, durable):
        return Contents(durable=durable)

    async def send(self, _destination, contents):
        self.sent += [item.pos for item in contents.durable]

    async def acknowledged(self, _destination, _contents):
        pass


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def peers(clock):
    return Peers(clock)


@pytest.fixture
def tasks(clock):
    return Tasks(clock, Metrics())


@pytest.fixture
def deliveries(peers, clock, tasks):
    return Deliveries(peers, peers, peers, None, tasks, clock, lambda: 3)


async def test_who_is_left_alone_is_tried_when_the_time_has_come(deliveries, peers, clock):
    shard = Shard(0, 0, held_until=1e9)
    outbox = shard.outbox(FAR)
    peers.retry_after_ms = 30_000
    outbox.add(PduItem(1, 1))
    deliveries.work(shard, outbox)
    await clock.advance(10)
    await deliveries.wake_due()
    assert peers.sent == []
    # A round that fails is not the last.
    peers.is_database_away = True
    await clock.advance(25)
    with pytest.raises(ConnectionError):
        await deliveries.wake_due()
    peers.is_database_away = False
    # Another node has found out that it still fails.
    await deliveries.wake_due()
    assert peers.sent == []
    peers.retry_after_ms = 0
    await clock.advance(29)
    await deliveries.wake_due()
    assert peers.sent == []
    await clock.advance(2)
    await deliveries.wake_due()
    await clock.advance(0)
    assert peers.sent == [1, 2, 3]


async def test_who_has_spoken_is_tried_at_once_and_once(deliveries, peers, clock):
    shard = Shard(0, 0, held_until=1e9)
    outbox = shard.outbox(FAR)
    peers.retry_after_ms = 30_000
    outbox.add(PduItem(1, 1))
    deliveries.work(shard, outbox)
    await clock.advance(1)
    peers.retry_after_ms = 0
    deliveries.wake(FAR)
    await clock.advance(0)
    assert peers.sent == [1, 2, 3]
    await clock.advance(60)
    await deliveries.wake_due()
    await clock.advance(0)
    assert peers.sent == [1, 2, 3]
    assert deliveries.is_idle(FAR)
