"""What of an event is searched for. Spec: client-server-api/#room_events"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.storage.search import BODY, NAME, TOPIC

_decode: Final = msgspec.json.Decoder().decode


class SearchKey(NamedTuple):
    """Something to search: its number in the index, and in which events it is."""

    kind: int
    event_type: str
    is_state: bool


SEARCH_KEYS: Final[Mapping[str, SearchKey]] = {
    "content.body": SearchKey(BODY, "m.room.message", is_state=False),
    "content.name": SearchKey(NAME, "m.room.name", is_state=True),
    "content.topic": SearchKey(TOPIC, "m.room.topic", is_state=True),
}
_BY_TYPE: Final = {key.event_type: key for key in SEARCH_KEYS.values()}


def key_of(event_type: str, state_key: str | None) -> SearchKey | None:
    """Return what an event is searched by, None if it is not."""
    key = _BY_TYPE.get(event_type)
    # State of another key names nothing.
    if key is None or state_key != ("" if key.is_state else None):
        return None
    return key


def texts_in(event_type: str, core: bytes, edit_core: bytes | None) -> list[str]:
    """Return the texts of an event, as its newest edit has them."""
    content = _content(core)
    if edit_core is not None:
        content = _object(_content(edit_core).get("m.new_content"))
    if event_type == "m.room.topic":
        values = [content.get("topic"), _plain_topic(content)]
    else:
        values = [content.get("name" if event_type == "m.room.name" else "body")]
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def _content(core: bytes) -> JsonObject:
    return _object(_decode(core).get("content"))


def _plain_topic(content: JsonObject) -> JsonValue:
    """Return the text/plain representation; one without a type is that.

    Spec: client-server-api/#mroomtopic
    """
    representations = _object(content.get("m.topic")).get("m.text")
    for each in representations if isinstance(representations, list) else ():
        if isinstance(each, dict) and each.get("mimetype", "text/plain") == "text/plain":
            return each.get("body")
    return None


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}
