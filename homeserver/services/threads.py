"""The threads of a room. Spec: client-server-api/#querying-threads-in-a-room"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.client_event import split_pdu
from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.sync_token import MAX_POSITION
from homeserver.rooms.access import Access
from homeserver.rooms.client_events import Viewer, render_all
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.timeline import Timeline
from homeserver.services.aggregations import Aggregations, SeenParent, sight_of
from homeserver.storage import events, threads
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.storage.threads import ThreadPlace, ThreadsWanted
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# Before all threads.
_NEWEST: Final = ThreadPlace(MAX_POSITION, 0)
_TOKEN: Final = re.compile(r"h(0|[1-9][0-9]{0,18})_(0|[1-9][0-9]{0,18})")


class ThreadsPage(NamedTuple):
    """Thread roots in client format; `end` None: there are no more."""

    chunk: list[bytes]
    end: ThreadPlace | None


class Threads:
    """Lists threads in the name of users."""

    def __init__(
        self,
        database: Database,
        access: Access,
        timeline: Timeline,
        cache: EventCache,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._access = access
        self._timeline = timeline
        self._cache = cache
        self._aggregations = aggregations
        self._clock = clock

    async def of_room(
        self,
        requester: Requester,
        room_id: RoomID,
        *,
        participated: bool,
        start: ThreadPlace | None,
        limit: int,
    ) -> ThreadsPage:
        """Return the roots of the threads that the requester may see, newest messages first.

        `participated`: only of those in which the requester has written. Raises Forbidden.
        """
        access = await self._access.to_read(requester.user_id, room_id)
        ignored = await self._aggregations.ignored_by(requester.user_id)
        sight = sight_of(access)
        wanted = ThreadsWanted(
            access.room_nid,
            start or _NEWEST,
            sight.visible,
            ignored,
            requester.user_id if participated else None,
            # One more tells whether there are more.
            limit + 1,
        )
        async with self._database.connection("threads") as connection:
            found = await threads.threads(connection, wanted)
            places = found[:limit]
            roots = await events.events_by_nid(connection, [place.root_nid for place in places])
        records = [roots[place.root_nid] for place in places if place.root_nid in roots]
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        # "All events returned include bundled aggregations", roots that are state events too.
        bundles = await self._aggregations.of(viewer, [SeenParent(each, sight) for each in records])
        shown = await self._redacted(records, [each for each in records if each.sender in ignored])
        seen = await self._timeline.as_seen(shown, access.view)
        chunk = render_all(seen, viewer, access.view, room_id, bundles)
        return ThreadsPage(chunk, places[-1] if len(found) > limit else None)

    async def _redacted(
        self, records: Sequence[EventRecord], hidden: Iterable[EventRecord]
    ) -> Sequence[EventRecord]:
        """Return the records, of `hidden` ones only what a redaction would leave."""
        nids = [record.event_nid for record in hidden]
        if not nids:
            return records
        cores: Mapping[int, bytes] = {
            nid: split_pdu(redact(event.pdu, rules), rules)[0]
            for nid, event in (await self._cache.get(nids)).items()
            for rules in [rules_of(event.room_version)]
        }
        return [
            record._replace(core=cores.get(record.event_nid, record.core)) for record in records
        ]


def parse_thread_token(text: str) -> ThreadPlace:
    """Read a token of a page. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or max(int(match[1]), int(match[2])) > MAX_POSITION:
        raise InvalidToken("Unknown pagination token")
    return ThreadPlace(int(match[1]), int(match[2]))


def thread_token(place: ThreadPlace) -> str:
    """Return the token of what comes after a thread."""
    return f"h{place.latest_pos}_{place.root_nid}"
