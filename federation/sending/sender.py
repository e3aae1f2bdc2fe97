"""Sending to other servers: the shards of this node, and what survives its end.

Nothing is written for an event that arrives: a shard's position in the log is stored every few
seconds, and beside it only who lacks something from before it. What was sent since the last time
is sent again after a crash; other servers know it by its ID. See docs/architecture.md.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Final

from federation.policy import FederationPolicy
from federation.sending.delivery import Deliveries
from federation.sending.outbox import DurableItem, Outbox
from federation.sending.router import Router
from federation.sending.shards import SHARDS, Shard, lease_name, shard_of
from homeserver.protocol.edu import Edu
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import outbound
from homeserver.storage.database import Database, DatabaseUnavailable
from homeserver.storage.outbound import Cursor
from homeserver.streams.leases import Grant, LeaseLost, Leases
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Three tries before a lease runs out.
RENEW_SECONDS: Final = 3.0
_WAKE_SECONDS: Final = 0.5
# When the log is routed up to where another node has come.
_SOON_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 4.0
_MAX_POLICIES: Final = 20_000


class Shards:
    """The outboxes of the shards that this node holds: what the router hands out goes there."""

    def __init__(self, policy: FederationPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._may_talk: dict[ServerName, bool] = {}
        self.held: dict[int, Shard] = {}
        # Called with an outbox that has something to send; set once, when all is put together.
        self.on_work: Callable[[Shard, Outbox], None] = lambda _shard, _outbox: None

    def durable(self, destinations: Iterable[ServerName], item: DurableItem) -> None:
        """Take something that must arrive."""
        for shard, outbox in self._outboxes(destinations):
            outbox.add(item)
            self._work(shard, outbox)

    def ephemeral(self, destinations: Iterable[ServerName], key: Hashable, update: Edu) -> None:
        """Take something that may be lost."""
        now = self._clock.monotonic()
        for shard, outbox in self._outboxes(destinations):
            outbox.add_ephemeral(key, update, now)
            self._work(shard, outbox)

    def to_device(self, destinations: Iterable[ServerName]) -> None:
        """Learn that messages to devices wait for servers."""
        for shard, outbox in self._outboxes(destinations):
            outbox.has_to_device = True
            self._work(shard, outbox)

    def may_talk_to(self, destination: ServerName) -> bool:
        """Whether the configuration lets this server send there."""
        allowed = self._may_talk.get(destination)
        if allowed is None:
            if len(self._may_talk) >= _MAX_POLICIES:
                self._may_talk.clear()
            allowed = self._may_talk[destination] = self._policy.may_talk_to(destination)
        return allowed

    def _outboxes(self, destinations: Iterable[ServerName]) -> Iterable[tuple[Shard, Outbox]]:
        for destination in destinations:
            shard = self.held.get(shard_of(destination))
            if shard is not None and self.may_talk_to(destination):
                yield shard, shard.outbox(destination)

    def _work(self, shard: Shard, outbox: Outbox) -> None:
        if shard.is_ready and outbox.has_work:
            self.on_work(shard, outbox)


class Sending:
    """Takes shards, keeps them, and gives them up."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        shards: Shards,
        router: Router,
        deliveries: Deliveries,
        tasks: Tasks,
        clock: Clock,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._leases = leases
        self._shards = shards
        self._router = router
        self._deliveries = deliveries
        self._tasks = tasks
        self._clock = clock
        self._own_name = own_name
        self._renewing: asyncio.Task[None] | None = None
        # A shard is held here, but was routed further elsewhere.
        self._is_behind = False
        # One at a time: it looks at all outboxes and writes what it has seen.
        self._keeping = asyncio.Lock()
        shards.on_work = deliveries.work

    async def start(self) -> None:
        """Begin, once the tail has started. Raises DatabaseUnavailable."""
        for number in range(SHARDS):
            # One after the other, because it is at the start and there are few.
            await self._leases.add(lease_name(number), at_head=True)
        self._router.start(self._tasks)
        await self.keep()
        self._renewing = self._tasks.spawn("federation leases", self._keep_on())
        self._tasks.every("federation retries", _WAKE_SECONDS, self._deliveries.wake_due)

    async def stop(self) -> None:
        """Let what is on its way arrive, and hand the shards over; before the database closes."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        await asyncio.wait([self._renewing])
        await self._deliveries.stop(_STOP_SECONDS)
        try:
            async with self._keeping:
                upto = self._router.position
                for shard in list(self._shards.held.values()):
                    await self._store(shard, upto)
                positions = {each.name: each.position for each in self._shards.held.values()}
                await self._leases.leave(positions)
        except DatabaseUnavailable as error:
            log.warning("federation shards could not be given up", error=str(error))

    async def keep(self) -> None:
        """Store how far the shards have come, renew their leases, take those that belong here."""
        async with self._keeping:
            now = self._clock.monotonic()
            for shard in list(self._shards.held.values()):
                if now >= shard.held_until:
                    self._drop(shard)
                elif shard.is_ready:
                    # Whoever has got what was routed before the last time leaves no trace.
                    upto, shard.routed = shard.routed, self._router.position
                    await self._store(shard, upto)
            names = {lease_name(number): number for number in range(SHARDS)}
            positions = dict.fromkeys(names, 0)
            positions.update({each.name: each.position for each in self._shards.held.values()})
            grants = await self._leases.renew(positions)
            await self._granted({names[name]: grant for name, grant in grants.items()})
        for name in self._leases.choose_handovers(grants):
            chosen = self._shards.held.get(names[name])
            if chosen is not None:
                self._tasks.spawn("federation shard handover", self._hand_over(chosen))

    async def _keep_on(self) -> None:
        while True:
            await self._clock.sleep(_SOON_SECONDS if self._is_behind else RENEW_SECONDS)
            # As a task of its own, so that a failure is not the last renewal.
            await self._tasks.spawn("federation lease renewal", self.keep())

    async def _hand_over(self, shard: Shard) -> None:
        """Let another node have a shard, once what is on its way has arrived."""
        try:
            # Its lease is renewed meanwhile.
            await self._deliveries.leave(shard, _STOP_SECONDS)
            async with self._keeping:
                if self._is_held(shard):
                    await self._store(shard, self._router.position)
                if self._is_held(shard):
                    await self._leases.release({shard.name: shard.position})
                    self._drop(shard)
                    log.info("federation shard handed over", shard=shard.number)
        finally:
            if self._is_held(shard):
                self._deliveries.stay(shard)

    def _is_held(self, shard: Shard) -> bool:
        return self._shards.held.get(shard.number) is shard

    async def _granted(self, grants: dict[int, Grant]) -> None:
        new: list[Shard] = []
        self._is_behind = False
        for number, grant in grants.items():
            shard = self._shards.held.get(number)
            if shard is not None:
                shard.held_until = grant.held_until
                continue
            if self._router.is_behind(grant.position):
                # What is routed from here on was sent by another node.
                self._is_behind = True
                continue
            shard = Shard(number, grant.position, grant.held_until)
            shard.routed = self._router.position
            new.append(shard)
            # From here on it gets what is routed.
            self._shards.held[number] = shard
        if not new:
            return
        try:
            await self._load(new, self._router.position)
        except BaseException:
            # What it lacks is not known: it is taken anew, and looked for again.
            for shard in new:
                self._drop(shard)
            raise

    async def _load(self, shards: Collection[Shard], upto: int) -> None:
        """Find out who lacks what of the log up to where it was routed before."""
        after = min(shard.position for shard in shards)
        async with self._database.connection("federation_shards") as connection:
            concerned = await outbound.concerned_between(connection, self._own_name, after, upto)
            for shard in shards:
                # Few shards, once.
                for cursor in await outbound.cursors_of(connection, shard.number):
                    outbox = shard.outbox(cursor.destination)
                    outbox.fall_behind(cursor.pos)
                    outbox.recorded = cursor.pos
        by_number = {shard.number: shard for shard in shards}
        for destination in concerned:
            concerned_shard = by_number.get(shard_of(destination))
            if concerned_shard is not None and self._shards.may_talk_to(destination):
                concerned_shard.outbox(destination).fall_behind(concerned_shard.position)
        for shard in shards:
            shard.is_ready = True
            for destination, outbox in list(shard.outboxes.items()):
                if self._shards.may_talk_to(destination):
                    outbox.has_to_device = True
                    self._deliveries.work(shard, outbox)

    async def _store(self, shard: Shard, upto: int) -> None:
        """Store that everything up to a position has arrived, but for who is recorded."""
        outboxes = list(shard.outboxes.values())
        lacking = {
            each: after
            for each in outboxes
            if (after := each.lacks_after) is not None and after < upto
        }
        changed = {each: after for each, after in lacking.items() if each.recorded != after}
        arrived = [each for each in outboxes if each.recorded is not None and each not in lacking]
        if changed or arrived:
            try:
                async with self._leases.storing(shard.name, shard.position, upto) as tx:
                    if changed:
                        rows = [Cursor(shard.number, k.destination, v) for k, v in changed.items()]
                        await outbound.put_cursors(tx, rows)
                    if arrived:
                        gone = [each.destination for each in arrived]
                        await outbound.delete_cursors(tx, shard.number, gone)
            except LeaseLost:
                log.info("another node has taken a federation shard over", shard=shard.number)
                self._drop(shard)
                return
            for outbox, after in changed.items():
                outbox.recorded = after
            for outbox in arrived:
                outbox.recorded = None
        shard.position = max(shard.position, upto)
        self._forget_idle(shard)

    def _forget_idle(self, shard: Shard) -> None:
        for destination, outbox in list(shard.outboxes.items()):
            is_idle = self._deliveries.is_idle(destination) and not outbox.has_work
            if is_idle and outbox.recorded is None:
                del shard.outboxes[destination]

    def _drop(self, shard: Shard) -> None:
        self._shards.held.pop(shard.number, None)
        self._deliveries.drop(shard)
