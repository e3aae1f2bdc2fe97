"""Events as clients get them: the stored bytes with `unsigned` for one user and device.

Spec: client-server-api/#room-event-format
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from homeserver.protocol.client_event import client_event
from homeserver.protocol.identifiers import DeviceID, EventID, RoomID, UserID
from homeserver.rooms.visibility import RoomView
from homeserver.storage.events import EventRecord
from homeserver.storage.member_events import MemberRow, Others

_encode: Final = msgspec.json.Encoder().encode
# What the children of events come to, as JSON, by event number: the member `m.relations`.
Bundles: TypeAlias = Mapping[int, bytes]
NO_BUNDLES: Final[Bundles] = {}


class Viewer(NamedTuple):
    """For whom events are rendered, and when (server clock, ms)."""

    user_id: UserID
    device_id: DeviceID | None
    now_ms: int


class _Core(msgspec.Struct):
    content: msgspec.Raw
    sender: msgspec.Raw


_decode_core: Final = msgspec.json.Decoder(_Core).decode


def unsigned_of(
    record: EventRecord, viewer: Viewer, membership: str | None, bundle: bytes | None = None
) -> bytes:
    """Return the `unsigned` object of an event as JSON.

    `membership` is the viewer's at the event, None where it is not told.
    """
    age = viewer.now_ms - record.origin_server_ts
    parts = [b'{"age":%d' % age]
    if membership is not None:
        parts.append(b',"membership":%b' % _encode(membership))
    if record.txn_id is not None and is_own(record, viewer):
        parts.append(b',"transaction_id":%b' % _encode(record.txn_id))
    if record.replaced_id is not None and record.replaced_core is not None:
        parts.append(_replaced(record.replaced_id, record.replaced_core))
    if record.redaction_id is not None and record.redaction_core is not None:
        parts.append(_redacted(record.redaction_id, record.redaction_core))
    if bundle is not None:
        parts.append(b',"m.relations":%b' % bundle)
    parts.append(b"}")
    return b"".join(parts)


def _replaced(event_id: str, core: bytes) -> bytes:
    replaced = _decode_core(core)
    return b',"prev_content":%b,"prev_sender":%b,"replaces_state":%b' % (
        bytes(replaced.content),
        bytes(replaced.sender),
        _encode(event_id),
    )


def _redacted(event_id: str, core: bytes) -> bytes:
    return b',"redacted_because":%b' % client_event(core, event_id=EventID(event_id))


def is_own(record: EventRecord, viewer: Viewer) -> bool:
    """Whether the viewer's own device sent the event."""
    return record.sender == viewer.user_id and record.device_id == (viewer.device_id or "")


def render(
    record: EventRecord,
    viewer: Viewer,
    membership: str | None,
    room_id: RoomID | None,
    bundle: bytes | None = None,
) -> bytes:
    """Return one event in client format; without `room_id` it is the form of /sync."""
    return client_event(
        record.core,
        event_id=record.event_id,
        room_id=room_id,
        unsigned=unsigned_of(record, viewer, membership, bundle),
    )


def render_all(
    records: Iterable[EventRecord],
    viewer: Viewer,
    view: RoomView,
    room_id: RoomID | None,
    bundles: Bundles = NO_BUNDLES,
) -> list[bytes]:
    """Render events of one room with the viewer's membership at each of them."""
    rendered: list[bytes] = []
    room = b"" if room_id is None else b',"room_id":%b' % _encode(room_id)
    memberships = {value: _encode(value) for value in {*view.memberships, "leave"} if value}
    for record in records:
        membership = view.membership_at(record.pos or 0)
        bundle = bundles.get(record.event_nid)
        if (
            record.replaced_core is None
            and record.redaction_core is None
            and record.txn_id is None
            and record.type != "m.room.redaction"
            and bundle is None
        ):
            # Most of thousands of members: one formatting instead of ten.
            rendered.append(
                b'%b,"event_id":%b%b,"unsigned":{"age":%d,"membership":%b}}'
                % (
                    record.core[:-1],
                    _encode(record.event_id),
                    room,
                    viewer.now_ms - record.origin_server_ts,
                    memberships[membership],
                )
            )
        else:
            rendered.append(render(record, viewer, membership, room_id, bundle))
    return rendered


def render_members(
    rows: Iterable[MemberRow], others: Others, viewer: Viewer, view: RoomView, room_id: RoomID
) -> list[bytes]:
    """Render member events of one room, as `render_all` does, at half of its cost."""
    rendered: list[bytes] = []
    positions, now_ms = view.membership_positions, viewer.now_ms
    room = b',"room_id":%b,"unsigned":{"age":' % _encode(room_id)
    memberships = [b',"membership":%b' % _encode(each or "leave") for each in view.memberships]
    for event_id, _, pos, origin_server_ts, core, replaces_nid, redacted_by_nid in rows:
        changed = b""
        if replaces_nid is not None and replaces_nid in others:
            changed += _replaced(*others[replaces_nid])
        if redacted_by_nid is not None and redacted_by_nid in others:
            changed += _redacted(*others[redacted_by_nid])
        rendered.append(
            b'%b,"event_id":%b%b%d%b%b}}'
            % (
                core[:-1],
                _encode(event_id),
                room,
                now_ms - origin_server_ts,
                memberships[bisect_right(positions, pos or 0) - 1],
                changed,
            )
        )
    return rendered
