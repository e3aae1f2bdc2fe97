"""What of a room's state is shown to those outside: the invited and those who knock.

Spec: client-server-api/#stripped-state
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import UserID, parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead

# "…the following state events SHOULD be included".
STRIPPED_TYPES: Final = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)
_decode: Final = msgspec.json.Decoder(list[JsonObject]).decode
_MEMBERS: Final = ("content", "sender", "state_key", "type")


async def shown_outside(
    head: RoomHead, cache: EventCache, *, members: Collection[str] = ()
) -> list[Event]:
    """Return the state events that identify a room, and the member events of some users."""
    keys = [
        *((name, "") for name in STRIPPED_TYPES),
        *(("m.room.member", each) for each in members),
    ]
    entries = [head.state[key] for key in keys if key in head.state]
    events = await cache.get(entry.event_nid for entry in entries)
    return [events[entry.event_nid] for entry in entries if entry.event_nid in events]


def stripped(pdus: Sequence[JsonObject]) -> list[JsonObject]:
    """Return those of the events that have the form of stripped state events, stripped.

    Of two of the same type and state key the first.
    """
    found: dict[tuple[str, str], JsonObject] = {}
    for pdu in pdus:
        texts = [pdu.get(name) for name in _MEMBERS[1:]]
        if isinstance(pdu.get("content"), dict) and all(isinstance(each, str) for each in texts):
            key = (str(pdu["type"]), str(pdu["state_key"]))
            found.setdefault(key, {name: pdu[name] for name in _MEMBERS})
    return list(found.values())


def senders_of(stripped_state: bytes) -> list[UserID]:
    """Return who has sent stored stripped state, those first who set up the room."""
    found: list[UserID] = []
    for each in sorted(_decode(stripped_state), key=lambda event: event["type"] != "m.room.create"):
        try:
            found.append(parse_user_id(each["sender"]))
        except InvalidIdentifier:
            continue
    return found
