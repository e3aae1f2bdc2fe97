"""Answers that several operations on rooms have in common."""

from collections.abc import Iterable

import msgspec

from homeserver.protocol.identifiers import EventID, RoomID


class RoomAnswer(msgspec.Struct, frozen=True):
    """The room that was made, joined or knocked on."""

    room_id: RoomID


class EventAnswer(msgspec.Struct, frozen=True):
    """The event that was sent."""

    event_id: EventID


def raw_events(events: Iterable[bytes]) -> list[msgspec.Raw]:
    """Return encoded events as members of an answer, into which they are copied."""
    return list(map(msgspec.Raw, events))
