"""Relations between events: what a child says about its parent, and what the parent must be.

Of encrypted events too: the relation always stands in the clear part of the content.
Spec: client-server-api/#forming-relationships-between-events
"""

from typing import Final, NamedTuple, TypeGuard

import msgspec

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, UserID, parse_event_id
from homeserver.protocol.json_types import JsonObject, JsonValue

ANNOTATION: Final = "m.annotation"
REFERENCE: Final = "m.reference"
REPLACEMENT: Final = "m.replace"
THREAD: Final = "m.thread"
# Those which the server sums up under `unsigned`; annotations "are *not* aggregated".
AGGREGATED: Final = frozenset({REFERENCE, REPLACEMENT, THREAD})
# How far to follow relations to find the thread of an event. Spec: #receiving-notifications
MAX_THREAD_HOPS: Final = 3
# appendices/#common-namespaced-identifier-grammar. Clients do not keep to its alphabet, so that
# is not asked for.
_MAX_REL_TYPE_LENGTH: Final = 255


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """The relation of a child to its parent, the event `event_id`.

    `in_reply_to` is the event that a reply answers besides; with `is_falling_back` it is there
    only for clients that know no threads. `key` belongs to annotations.
    """

    rel_type: str
    event_id: EventID
    key: str | None = None
    is_falling_back: bool = False
    in_reply_to: EventID | None = None


class AnnotationIdentity(NamedTuple):
    """What no two annotations may have in common, unless one is redacted."""

    target: EventID
    event_type: str
    key: str
    sender: UserID


def relation_of(content: JsonObject) -> Relation | None:
    """Read `m.relates_to`. None when there is no relation, or one against the schema.

    A rich reply by itself has no relation in this sense: see `reply_target_of`.
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, event_id = relates_to.get("rel_type"), _event_id(relates_to.get("event_id"))
    if not _is_text(rel_type) or event_id is None:
        return None
    if not 0 < len(rel_type) <= _MAX_REL_TYPE_LENGTH:
        return None
    key = relates_to.get("key")
    return Relation(
        rel_type=rel_type,
        event_id=event_id,
        key=key if rel_type == ANNOTATION and _is_text(key) else None,
        is_falling_back=relates_to.get("is_falling_back") is True,
        in_reply_to=reply_target_of(content),
    )


def reply_target_of(content: JsonObject) -> EventID | None:
    """Return the event that a rich reply answers. Spec: client-server-api/#rich-replies"""
    relates_to = content.get("m.relates_to")
    reply = relates_to.get("m.in_reply_to") if isinstance(relates_to, dict) else None
    return _event_id(reply.get("event_id")) if isinstance(reply, dict) else None


def may_replace(original: Event, edit: Event, *, original_is_redacted: bool) -> bool:
    """Say whether an event is a valid replacement of another.

    A redacted edit is none: it has lost its relation.
    Spec: client-server-api/#validity-of-replacement-events
    """
    relation = relation_of(edit.content)
    if relation is None or relation.rel_type != REPLACEMENT or original_is_redacted:
        return False
    own_relation = relation_of(original.content)
    return (
        relation.event_id == original.event_id
        and original.room_id == edit.room_id
        and original.sender == edit.sender
        and original.type == edit.type
        and not original.is_state
        and not edit.is_state
        and (own_relation is None or own_relation.rel_type != REPLACEMENT)
        and has_replacement(edit.type, edit.content)
    )


def has_replacement(event_type: str, content: JsonObject) -> bool:
    """Say whether an edit has what it puts in the place of the original's content."""
    # Of an encrypted edit only its readers know.
    return event_type == "m.room.encrypted" or isinstance(content.get("m.new_content"), dict)


def replacement_order(edit: Event) -> tuple[int, EventID]:
    """Return the key by which the greatest of several edits is the most recent.

    Spec: client-server-api/#server-side-aggregation-of-mreplace-relationships
    """
    return edit.origin_server_ts, edit.event_id


def is_valid_thread_root(relation: Relation | None) -> bool:
    """Say whether an event may be the root of a thread, by its own relation.

    "any event without a `rel_type` can become a thread root": threads do not nest, but a rich
    reply may start one. Spec: client-server-api/#threading
    """
    return relation is None


def is_annotatable(relation: Relation | None) -> bool:
    """Say whether an event may be annotated, by its own relation: no annotation, no edit.

    Spec: client-server-api/#event-annotations-and-reactions
    """
    return relation is None or relation.rel_type not in (ANNOTATION, REPLACEMENT)


def annotation_identity(
    event_type: str, sender: UserID, content: JsonObject
) -> AnnotationIdentity | None:
    """Return what makes an annotation a duplicate. None if it is no annotation with a key.

    Spec: client-server-api/#avoiding-duplicate-annotations
    """
    relation = relation_of(content)
    if relation is None or relation.key is None:
        return None
    return AnnotationIdentity(relation.event_id, event_type, relation.key, sender)


def _is_text(value: JsonValue) -> TypeGuard[str]:
    """Whether a value is a string that PostgreSQL can hold."""
    return isinstance(value, str) and "\0" not in value


def _event_id(value: JsonValue) -> EventID | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_event_id(value)
    except InvalidIdentifier:
        return None
