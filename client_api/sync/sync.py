"""One request of /sync: answer what is new, or wait for it.

Spec: client-server-api/#syncing
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from client_api.sync.encode import encode, event_list, joined_object
from client_api.sync.request import SyncContext, SyncRequest
from client_api.sync.rooms import RoomSections
from client_api.sync.streams import GlobalStream
from client_api.sync.to_device_stream import ToDeviceStream
from client_api.sync.typing_stream import TypingStream, typing_told
from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.sync_token import SyncToken
from homeserver.rooms.client_events import Viewer
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.entries import ACCOUNT_CHANGED, TOKENS_REVOKED, UserEntry
from homeserver.streams.log_reader import LogReader
from homeserver.streams.notifier import Notifier
from homeserver.streams.partial_rooms import PartialRooms
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.streams.tail import Tail
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.shutdown import Shutdown

# Proxies and clients give up around a minute or two; nothing is lost by answering before.
MAX_TIMEOUT_MS: Final = 120_000
# Of the event loop: so many it takes from the commit of a send to its answer.
TURNS_TO_ANSWER: Final = 2
_SESSION_CHANGES: Final = frozenset({ACCOUNT_CHANGED, TOKENS_REVOKED})


class Sync:
    """Answers /sync as of one position of the log."""

    def __init__(
        self,
        tail: Tail,
        reader: LogReader,
        notifier: Notifier,
        user_rooms: UserRooms,
        partial_rooms: PartialRooms,
        personal_rules: PersonalRuleIndex,
        typing: TypingStream,
        to_device: ToDeviceStream,
        rooms: RoomSections,
        clock: Clock,
        shutdown: Shutdown,
        *,
        streams: Sequence[GlobalStream] = (),
    ) -> None:
        self._tail = tail
        self._reader = reader
        self._notifier = notifier
        self._user_rooms = user_rooms
        self._partial_rooms = partial_rooms
        self._personal_rules = personal_rules
        self._typing = typing
        self._to_device = to_device
        self._rooms = rooms
        self._clock = clock
        self._shutdown = shutdown
        self._streams = streams

    async def answer(self, request: SyncRequest) -> bytes:
        """Return the answer as JSON; waits up to the timeout while nothing is new.

        Raises InvalidParam: the token is of a future that this log does not have.
        """
        if request.since is not None and request.since > self._tail.position:
            await self._reach(request.since)
        may_wait = request.since is not None and not request.full_state
        timeout_ms = min(request.timeout_ms, MAX_TIMEOUT_MS) if may_wait else 0
        deadline = self._clock.monotonic() + timeout_ms / 1000
        authenticated = self._tail.position
        while True:
            context = await self._context(request)
            now, typing_serial = context.now, self._typing.serial
            sections = await self._sections(context)
            messages = await self._to_device.batch(context)
            if messages.events:
                sections["to_device"] = event_list(messages.events)
            left = deadline - self._clock.monotonic()
            is_over = left <= 0 or self._shutdown.has_begun
            if sections or is_over or self._has_session_changed(context, authenticated):
                return await self._encoded(context, sections, messages.told_upto)
            authenticated = now
            # What arrived while the answer was put together needs no wake-up.
            has_more = self._tail.position != now or self._typing.serial != typing_serial
            if not has_more and not await self._wait(context, left):
                return await self._encoded(context._replace(now=self._tail.position), {})
            # Who sent the event is answered first: bots and bridges know their own events by the ID
            # that the answer gives, and take for somebody else's what /sync tells before it.
            for _ in range(TURNS_TO_ANSWER):
                await asyncio.sleep(0)

    async def _context(self, request: SyncRequest) -> SyncContext:
        user_id = request.requester.user_id
        personal = await self._personal_rules.of_user(user_id)
        ignored = frozenset[UserID]() if personal is None else personal.ignored
        memberships = await self._memberships(request)
        # Memberships are as of the tail's position: nothing may be waited for in between.
        return SyncContext(
            request,
            self._viewer(request),
            self._tail.position,
            memberships,
            ignored,
            self._typing.told_in(request, memberships),
        )

    async def _memberships(self, request: SyncRequest) -> Mapping[int, MembershipRow]:
        """Return the rooms of which the client is told, as they are at the tail's position.

        Who wants all members of rooms does not see those whose members are not known yet.
        """
        user_id = request.requester.user_id
        memberships = await self._user_rooms.of_user(user_id)
        while (partial := self._partial_rooms.now) is None:
            await self._partial_rooms.load()
            memberships = await self._user_rooms.of_user(user_id)
        if request.filter.lazy_load_members or partial.isdisjoint(memberships):
            return memberships
        return {
            room_nid: row
            for room_nid, row in memberships.items()
            if row.membership != "join" or room_nid not in partial
        }

    async def _sections(self, context: SyncContext) -> dict[str, bytes]:
        """Return the members of the answer for which it is worth answering."""
        sections: dict[str, bytes] = {}
        rooms = await self._rooms.encoded(context)
        if rooms:
            sections["rooms"] = joined_object(rooms)
        for stream in self._streams:
            sections.update(await stream.sections(context))
        return sections

    async def _encoded(
        self,
        context: SyncContext,
        sections: Mapping[str, bytes],
        to_device_upto: int | None = None,
    ) -> bytes:
        token = SyncToken(context.now, typing_told(context), to_device_upto)
        members = {"next_batch": encode(str(token))}
        members.update(sections)
        for stream in self._streams:
            members.update(await stream.always(context))
        return joined_object(members)

    async def _wait(self, context: SyncContext, seconds: float) -> bool:
        """Wait for a wake-up; False when the time is over and nothing has come."""
        waiter = self._notifier.begin_waiting(
            context.viewer.user_id,
            [n for n, row in context.memberships.items() if row.membership == "join"],
        )
        try:
            async with asyncio.timeout(seconds):
                await waiter.future
        except TimeoutError:
            return waiter.is_woken or self._notifier.owes(waiter)
        finally:
            self._notifier.end_waiting(waiter)
        return True

    def _has_session_changed(self, context: SyncContext, after: int) -> bool:
        """Whether the account was locked, say, so that the client has to be let know.

        Its next request is authenticated anew and told what has happened.
        """
        user_id = context.viewer.user_id
        return self._tail.position > after and any(
            isinstance(entry, UserEntry)
            and entry.user_id == user_id
            and entry.kind in _SESSION_CHANGES
            for entry in self._tail.entries_after(after)
        )

    async def _reach(self, since: int) -> None:
        """Wait for what another node has told the client already."""
        if since > await self._reader.head():
            raise InvalidParam("Unknown since token")
        await self._tail.reach(since)

    def _viewer(self, request: SyncRequest) -> Viewer:
        requester = request.requester
        return Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
