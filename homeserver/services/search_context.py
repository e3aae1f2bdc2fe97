"""What surrounds the results of a search."""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.read_state import ReadState
from homeserver.rooms.timeline import Page, place_of, unbroken
from homeserver.services.room_pages import RoomPages, beyond
from homeserver.services.room_tokens import state_position
from homeserver.storage.events import EventRecord, Place

DEFAULT_CONTEXT: Final = 5
# On each side of each of the results.
MAX_CONTEXT: Final = 20

_EVERYTHING: Final = EventMatcher(RoomEventFilter())
_decode: Final = msgspec.json.Decoder().decode


class ContextRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How many events before and after each result, and whether with their senders' profiles."""

    before_limit: Annotated[int, Meta(ge=0)] = DEFAULT_CONTEXT
    after_limit: Annotated[int, Meta(ge=0)] = DEFAULT_CONTEXT
    include_profile: bool = False


class Neighbours(NamedTuple):
    """The events around a result; `before` is newest first.

    From `start` goes on who paginates backwards, from `end` who paginates forwards.
    """

    start: Place
    end: Place
    before: Sequence[EventRecord]
    after: Sequence[EventRecord]
    profiles: dict[str, JsonObject] | None


class SearchContext:
    """Reads what surrounds results, for who has access."""

    def __init__(self, pages: RoomPages, read_state: ReadState) -> None:
        self._pages = pages
        self._read_state = read_state

    async def around(
        self, access: RoomAccess, event: EventRecord, wanted: ContextRequest
    ) -> Neighbours:
        """Return the neighbours of an event, whatever the filter of the search."""
        before = await self._pages.page(
            access,
            _EVERYTHING,
            backwards=True,
            start=beyond(event, backwards=True),
            limit=min(wanted.before_limit, MAX_CONTEXT),
        )
        after = await self._pages.page(
            access,
            _EVERYTHING,
            backwards=False,
            start=place_of(event),
            limit=min(wanted.after_limit, MAX_CONTEXT),
        )
        older = unbroken(before.records, event)
        newer = unbroken(after.records, event)
        shown = [*reversed(older), event, *newer]
        return Neighbours(
            _end(before, older) or beyond(shown[0], backwards=True),
            _end(after, newer) or place_of(shown[-1]),
            older,
            newer,
            await self._profiles(access, event, shown) if wanted.include_profile else None,
        )

    async def _profiles(
        self, access: RoomAccess, event: EventRecord, shown: Sequence[EventRecord]
    ) -> dict[str, JsonObject]:
        """Return the senders' profiles in the room as they were at the event."""
        senders = {record.sender for record in shown}
        members = await self._read_state.members_at(
            access.room_nid, senders, state_position(place_of(event))
        )
        return {str(member.state_key): _profile(member) for member in members}


def _end(page: Page, shown: Sequence[EventRecord]) -> Place | None:
    """Return where a page goes on; None: right after the last of those that are shown."""
    return page.end if len(shown) == len(page.records) else None


def _profile(member: EventRecord) -> JsonObject:
    content = _decode(member.core)["content"]
    names = ("displayname", "avatar_url")
    return {name: content[name] for name in names if isinstance(content.get(name), str)}
