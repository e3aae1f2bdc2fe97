"""Members of the answers of other servers: of the form that they should have, or a RemoteError."""

from typing import Any

from federation.transport.failures import RemoteBadAnswer
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import EventID, ServerName, parse_event_id
from homeserver.protocol.json_types import JsonObject


def list_in(answer: JsonObject, name: str, server: ServerName, *, at_most: int) -> list[Any]:
    """Return a list. Raises RemoteBadAnswer: it is none, or a longer one."""
    value = answer.get(name)
    if not isinstance(value, list):
        raise RemoteBadAnswer(server, f"the answer has no list {name}")
    if len(value) > at_most:
        raise RemoteBadAnswer(server, f"the answer has too many {name}")
    return value


def objects_in(
    answer: JsonObject, name: str, server: ServerName, *, at_most: int
) -> list[JsonObject]:
    """Return a list of objects. Raises RemoteBadAnswer."""
    values = list_in(answer, name, server, at_most=at_most)
    if not all(isinstance(each, dict) for each in values):
        raise RemoteBadAnswer(server, f"the {name} of the answer are no objects")
    return values


def event_ids_in(
    answer: JsonObject, name: str, server: ServerName, *, at_most: int
) -> list[EventID]:
    """Return a list of event IDs. Raises RemoteBadAnswer."""
    values = list_in(answer, name, server, at_most=at_most)
    return [event_id_from(each, server) for each in values]


def event_id_from(value: Any, server: ServerName) -> EventID:
    """Return an event ID. Raises RemoteBadAnswer."""
    try:
        return parse_event_id(value) if isinstance(value, str) else _refuse(server)
    except InvalidIdentifier:
        return _refuse(server)


def integer_in(answer: JsonObject, name: str, server: ServerName) -> int:
    """Return an integer. Raises RemoteBadAnswer."""
    value = answer.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RemoteBadAnswer(server, f"the answer has no integer {name}")
    return value


def _refuse(server: ServerName) -> EventID:
    raise RemoteBadAnswer(server, "the answer has something that is no event ID")
