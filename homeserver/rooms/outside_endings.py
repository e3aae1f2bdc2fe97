"""How invites and knocks of rooms that this server is not in have ended, as clients are told.

The event is no part of any room here. It stands in the stripped state of the membership, in the
place of the invite or the knock, so that a client finds it where it expects it.
"""

from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.unpadded_base64 import encode_urlsafe_base64
from homeserver.storage.events import EventRecord
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.outside_memberships import NO_EVENT

# As the cores of stored events are: `client_event` adds to the end.
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder(list[JsonObject]).decode


class Ending(NamedTuple):
    """What is known of the event that ended an invite or a knock."""

    event_id: EventID
    sender: UserID
    origin_server_ts: int
    content: JsonObject

    def put_into(self, stripped_state: bytes | None, user_id: UserID) -> bytes:
        """Return the stripped state with the event as the user's membership."""
        kept = [each for each in _members(stripped_state) if not _is_of(each, user_id)]
        own = {
            "content": self.content,
            "event_id": self.event_id,
            "origin_server_ts": self.origin_server_ts,
            "sender": self.sender,
            "state_key": user_id,
            "type": "m.room.member",
        }
        return _encode([*kept, own])


def ending_by(event: Event) -> Ending:
    """Return the ending that an event is."""
    return Ending(event.event_id, event.sender, event.origin_server_ts, event.content)


def unheard_ending(user_id: UserID, room_id: RoomID, content: JsonObject, now_ms: int) -> Ending:
    """Return the ending of which no server of the room wants to hear, with an ID of our own."""
    digest = sha256(f"{room_id} {user_id} {now_ms}".encode()).digest()
    content = {**content, "membership": "leave"}
    return Ending(EventID("$" + encode_urlsafe_base64(digest)), user_id, now_ms, content)


def ending_record(row: MembershipRow, user_id: UserID) -> EventRecord | None:
    """Return the event that ended a user's invite or knock; None: it is not known."""
    for own in _members(row.stripped_state):
        if _is_of(own, user_id) and (event_id := own.pop("event_id", None)) is not None:
            return _record(row, user_id, EventID(str(event_id)), own)
    return None


def _record(row: MembershipRow, user_id: UserID, event_id: EventID, own: JsonObject) -> EventRecord:
    sent = own["origin_server_ts"]
    return EventRecord(
        event_nid=NO_EVENT,
        event_id=event_id,
        room_nid=row.room_nid,
        pos=row.pos,
        sub=0,
        depth=0,
        type="m.room.member",
        sender=row.sender,
        state_key=user_id,
        origin_server_ts=sent if isinstance(sent, int) else 0,
        flags=0,
        state_nid=None,
        replaces_nid=None,
        thread_nid=None,
        device_id=None,
        txn_id=None,
        notify_seq=0,
        highlight_seq=0,
        core=_encode(own),
        replaced_core=None,
        replaced_id=None,
        redaction_id=None,
        redaction_core=None,
    )


def _members(stripped_state: bytes | None) -> list[JsonObject]:
    return [] if stripped_state is None else _decode(stripped_state)


def _is_of(event: JsonObject, user_id: UserID) -> bool:
    return event.get("type") == "m.room.member" and event.get("state_key") == user_id
