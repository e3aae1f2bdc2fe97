"""Events of an answer as JSON, by the filter's format and fields."""

from client_api.sync.request import SyncContext
from homeserver.protocol.client_event import client_event
from homeserver.rooms.client_events import unsigned_of
from homeserver.storage.events import EventRecord
from homeserver.streams.entries import EventEntry


class EventBytes:
    """Renders the events of one answer."""

    def __init__(self, context: SyncContext) -> None:
        self._viewer = context.viewer
        self._fields = context.request.filter.event_fields

    def of_entry(self, entry: EventEntry, membership: str) -> bytes:
        """Render an entry of the tail; most of its bytes are made once for all users."""
        unsigned = unsigned_of(entry.record, self._viewer, membership)
        return self._chosen(entry.client_head + b',"unsigned":' + unsigned + b"}")

    def of_record(
        self, record: EventRecord, membership: str | None, bundle: bytes | None = None
    ) -> bytes:
        """Render a stored event, with what its children come to."""
        unsigned = unsigned_of(record, self._viewer, membership, bundle)
        return self._chosen(client_event(record.core, event_id=record.event_id, unsigned=unsigned))

    def _chosen(self, event: bytes) -> bytes:
        if self._fields is None:
            return event
        return self._fields.select_json(event)
