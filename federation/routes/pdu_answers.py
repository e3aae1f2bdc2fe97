"""Answers that consist of PDUs."""

from collections.abc import Iterable

import msgspec

from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.serving import ServedEvent


class PduTransaction(msgspec.Struct, frozen=True):
    """A transaction of PDUs."""

    origin: ServerName
    origin_server_ts: int
    pdus: list[msgspec.Raw]


def raw_pdus(served: Iterable[ServedEvent]) -> list[msgspec.Raw]:
    """Return encoded PDUs as members of an answer, into which they are copied."""
    return [msgspec.Raw(each.pdu) for each in served]
