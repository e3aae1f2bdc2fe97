"""From a raw PDU of another server to an event: format, event ID, content hash."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.protocol.errors import InvalidEvent, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.hashing import has_valid_content_hash
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.json_types import JsonValue
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersionRules

# About 20 ms of parsing between two turns of the event loop.
_SLICE: Final = 200


def received_event(pdu: JsonValue, rules: RoomVersionRules) -> Event:
    """Make an event of a PDU: without `unsigned`, redacted where its content hash is wrong.

    Raises InvalidEvent. Signatures are not looked at.
    Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
    """
    if isinstance(pdu, dict) and "unsigned" in pdu:
        # Nothing of it is signed, and nothing that it may say is of use here.
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    # Step 1. Is a valid event, otherwise it is dropped.
    event = event_from_pdu(pdu, rules)
    # Step 3. Passes hash checks, otherwise it is redacted before being processed further.
    try:
        is_complete = has_valid_content_hash(event.pdu, rules)
    except InvalidJson as error:
        raise InvalidEvent(str(error)) from None
    return event if is_complete else event_from_pdu(redact(event.pdu, rules), rules)


def readable_events(
    pdus: Iterable[JsonValue], room_id: RoomID, rules: RoomVersionRules
) -> list[Event]:
    """Make events of what another server has answered; leave out what is none of this room.

    Each event once, in the order of the answer.
    """
    events: dict[EventID, Event] = {}
    for pdu in pdus:
        try:
            event = received_event(pdu, rules)
        except InvalidEvent:
            continue
        if event.room_id == room_id:
            events.setdefault(event.event_id, event)
    return list(events.values())


async def readable_slices(
    pdus: Sequence[JsonValue], room_id: RoomID, rules: RoomVersionRules
) -> list[Event]:
    """Do the same with thousands of PDUs, letting others run in between."""
    events: list[Event] = []
    for start in range(0, len(pdus), _SLICE):
        events += readable_events(pdus[start : start + _SLICE], room_id, rules)
        await asyncio.sleep(0)
    return events


def stored_pdu(event: Event) -> bytes:
    """Return the PDU as it is staged."""
    return msgspec.json.encode(event.pdu)
