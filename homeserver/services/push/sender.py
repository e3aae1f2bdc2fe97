"""Sending what waits in the queue: each pusher's notifications one by one, in order.

Any node sends for any pusher, one node at a time: it claims the pusher for some seconds and
prolongs that with everything it sends. When it dies, another node goes on. A notification leaves
the queue when the gateway has taken it, so that it is sent again only if the node dies between
the two.
"""

import asyncio
import secrets
from collections.abc import Collection
from functools import partial
from typing import Final, Protocol

import msgspec

from homeserver.protocol.backoff import retry_delay_ms
from homeserver.services.push import kinds
from homeserver.services.push.delivery import Delivery, Result
from homeserver.services.push.notification import Push
from homeserver.services.push.unread_counts import PushCounts
from homeserver.storage import push_queue, pushers
from homeserver.storage.database import Database
from homeserver.storage.push_queue import Waiting
from homeserver.storage.pushers import PusherRow
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

POLL_SECONDS: Final = 2.0
EXPIRY_SECONDS: Final = 600.0
# Of each pusher, after an outage: the newest.
MAX_QUEUED: Final = 1_000
# Longer than one attempt may take.
_CLAIM_MS: Final = 15_000
# How late a notification comes at the most after its gateway is back.
_MAX_PAUSE_MS: Final = 600_000
# At once on one node: each is a connection to a gateway.
_MAX_SENDING: Final = 100
_MAX_DUE: Final = 500
_MAX_WAITING: Final = 50
# Longer than an attempt takes, so that what has arrived is taken out of the queue.
_STOP_SECONDS: Final = 12.0

_decode: Final = msgspec.json.Decoder(dict).decode


class Digests(Protocol):
    """Sends mails about what waits for a pusher."""

    async def send(self, pusher: PusherRow) -> None:
        """Take all that waits for a pusher out of its queue, by mail where it is unread."""
        ...


class PushSender:
    """Sends notifications from this node."""

    def __init__(
        self,
        database: Database,
        delivery: Delivery,
        digests: Digests,
        counts: PushCounts,
        personal_rules: PersonalRuleIndex,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
        *,
        node_id: str,
        max_age_ms: int,
    ) -> None:
        """`node_id`: of this run of the process; no other run may ever have it."""
        self._database = database
        self._delivery = delivery
        self._digests = digests
        self._counts = counts
        self._personal_rules = personal_rules
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._node_id = node_id
        self._max_age_ms = max_age_ms
        self._limit = asyncio.Semaphore(_MAX_SENDING)
        self._sending: dict[int, asyncio.Task[None]] = {}
        # Something new has come for them while they were being sent for.
        self._again: set[int] = set()
        self._is_stopping = False

    def wake(self, pusher_nids: Collection[int]) -> None:
        """Begin to send what waits for pushers."""
        for pusher_nid in pusher_nids:
            if pusher_nid in self._sending:
                self._again.add(pusher_nid)
            elif not self._is_stopping:
                task = self._tasks.spawn("push", self._send_for(pusher_nid))
                self._sending[pusher_nid] = task
                task.add_done_callback(partial(self._ended, pusher_nid))

    async def poll(self) -> None:
        """Send what had to wait, and what another node has left behind; call it every seconds."""
        async with self._database.connection("push_due") as connection:
            due = await push_queue.due(connection, self._clock.now_ms(), _MAX_DUE)
        self.wake(due)

    async def expire(self) -> None:
        """Forget what has waited for too long, and what nobody would look through."""
        before_ms = self._clock.now_ms() - self._max_age_ms
        async with self._database.connection("push_expiry") as connection:
            await push_queue.expire(connection, before_ms, MAX_QUEUED)

    async def stop(self) -> None:
        """Finish the attempts that are on their way."""
        self._is_stopping = True
        if self._sending:
            await asyncio.wait(list(self._sending.values()), timeout=_STOP_SECONDS)

    def _ended(self, pusher_nid: int, _task: asyncio.Task[None]) -> None:
        del self._sending[pusher_nid]
        if pusher_nid in self._again:
            self._again.discard(pusher_nid)
            self.wake([pusher_nid])

    async def _send_for(self, pusher_nid: int) -> None:
        async with self._limit:
            while not self._is_stopping:
                pusher = await self._claim(pusher_nid)
                if pusher is None:
                    return
                try:
                    goes_on = await self._send_all(pusher)
                finally:
                    goes_on_later = await self._release(pusher_nid)
                if not (goes_on and goes_on_later):
                    return

    async def _claim(self, pusher_nid: int) -> PusherRow | None:
        now_ms = self._clock.now_ms()
        async with self._database.connection("claim_pusher") as connection:
            return await push_queue.claim(
                connection, pusher_nid, self._node_id, now_ms, now_ms + _CLAIM_MS
            )

    async def _release(self, pusher_nid: int) -> bool:
        """Let other nodes send; whether something has come that they left to this one."""
        async with self._database.connection("release_pusher") as connection:
            await push_queue.release(connection, pusher_nid, self._node_id)
            return not await push_queue.is_empty(connection, pusher_nid)

    async def _send_all(self, pusher: PusherRow) -> bool:
        """Send until nothing waits; False: the pusher is to be left alone, or is gone."""
        if pusher.kind == kinds.EMAIL:
            await self._digests.send(pusher)
            return False
        while not self._is_stopping:
            waiting, is_last = await self._waiting(pusher)
            if waiting is None:
                return True
            told = await self._send_one(pusher, waiting)
            if told is None:
                return False
            if is_last:
                # Whether there is more by now is seen when the pusher is released.
                return True
            pusher = pusher._replace(told_unread=told, failures=0)
        return False

    async def _waiting(self, pusher: PusherRow) -> tuple[Waiting | None, bool]:
        """Return what is to be sent next, whether it is the last, and forget what is in vain.

        Of new counts only the newest are sent, and none before an event, which brings its own.
        """
        personal = await self._personal_rules.of_user(pusher.user_id)
        ignored = () if personal is None else personal.ignored
        while True:
            async with self._database.connection("push_waiting") as connection:
                rows = await push_queue.waiting(
                    connection, pusher.pusher_nid, ignored, _MAX_WAITING
                )
                kept = [row for row in rows if not self._is_stale(row)]
                chosen = next((row for row in kept if row.event_nid is not None), None)
                if chosen is None and rows:
                    # What was read while it waited: if counts were told, they are not true now.
                    chosen = kept[-1] if kept else None
                passed = [row.pos for row in rows if chosen is None or row.pos < chosen.pos]
                if passed:
                    await push_queue.forget(connection, pusher.pusher_nid, passed)
            if chosen is not None or len(rows) < _MAX_WAITING:
                is_last = chosen is None or chosen is rows[-1]
                return chosen, is_last and len(rows) < _MAX_WAITING

    def _is_stale(self, row: Waiting) -> bool:
        return row.is_moot or row.added_ts < self._clock.now_ms() - self._max_age_ms

    async def _send_one(self, pusher: PusherRow, waiting: Waiting) -> int | None:
        """Send a notification and return how many unread messages were told of.

        None: the pusher is to be left alone, or is gone.
        """
        # The counts must be those after the event.
        counts = await self._counts.of_user(pusher.user_id, waiting.pos)
        event = None
        if waiting.event_nid is not None:
            async with self._database.connection("pushed_event") as connection:
                found = await push_queue.pushed_events(connection, pusher.user_id, [waiting])
            event = found.get(waiting.pos)
        elif counts.unread >= pusher.told_unread:
            # What is read makes them lower. The event that has made them higher tells them itself.
            await self._sent(pusher, waiting, pusher.told_unread)
            return pusher.told_unread
        content = _decode(pusher.content)
        tweaks = _decode(waiting.tweaks)
        push = Push(pusher, content, event, tweaks, waiting.is_highlight, counts)
        result = await self._delivery.send(push)
        if result is Result.FAILED:
            await self._postpone(pusher)
            return None
        if result is Result.GONE:
            log.info("pusher rejected", pusher_nid=pusher.pusher_nid, kind=pusher.kind)
            async with self._database.connection("delete_pusher") as connection:
                await pushers.delete_by_nid(connection, pusher.pusher_nid)
            return None
        await self._sent(pusher, waiting, counts.unread)
        waited_ms = self._clock.now_ms() - waiting.added_ts
        self._metrics.push_delay_seconds.labels(pusher.kind).observe(max(0, waited_ms) / 1000)
        return counts.unread

    async def _sent(self, pusher: PusherRow, waiting: Waiting, unread: int) -> None:
        until_ms = self._clock.now_ms() + _CLAIM_MS
        async with self._database.connection("push_sent") as connection:
            await push_queue.sent(connection, pusher.pusher_nid, waiting.pos, unread, until_ms)

    async def _postpone(self, pusher: PusherRow) -> None:
        failures = pusher.failures + 1
        jitter = secrets.randbelow(1_000) / 1_000
        pause_ms = min(retry_delay_ms(failures, jitter), _MAX_PAUSE_MS)
        async with self._database.connection("postpone_pusher") as connection:
            await push_queue.postpone(
                connection, pusher.pusher_nid, failures, self._clock.now_ms() + pause_ms
            )
