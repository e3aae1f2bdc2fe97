"""Joining encoded JSON. Spec: client-server-api/#get_matrixclientv3sync"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

encode: Final = msgspec.json.Encoder().encode


def joined_object(members: Mapping[str, bytes]) -> bytes:
    """Return a JSON object of members that are encoded already."""
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members.items()) + b"}"


def event_list(events: Iterable[bytes]) -> bytes:
    """Return `{"events": […]}`."""
    return b'{"events":[' + b",".join(events) + b"]}"
