"""What a notification says. Spec: push-gateway-api/#post_matrixpushv1notify"""

from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.storage.push_queue import PushedEvent
from homeserver.storage.pushers import PusherRow

EVENT_ID_ONLY: Final = "event_id_only"
# What a client learns of by a notification that makes a sound; a call, too, must not come late.
_URGENT_TYPES: Final = frozenset({"m.call.invite"})
# In this order they are left out where a notification would be too large.
_LARGE_MEMBERS: Final = ("content", "room_name", "sender_display_name", "room_alias")
# About what a push provider takes, apart from what the specification has in it.
_MAX_CONTENT_BYTES: Final = 64 * 1024

_decode: Final = msgspec.json.Decoder(dict).decode
_encode: Final = msgspec.json.Encoder().encode


class Counts(NamedTuple):
    """What a user has not acknowledged, in all rooms."""

    unread: int
    missed_calls: int

    def as_json(self) -> JsonObject:
        """Return the counts; "Counts whose value is zero should be omitted"."""
        return {name: value for name, value in self._asdict().items() if value}


class Push(NamedTuple):
    """A notification for one pusher; `event` None: only the counts have changed."""

    pusher: PusherRow
    content: JsonObject
    event: PushedEvent | None
    tweaks: JsonObject
    is_highlight: bool
    counts: Counts

    @property
    def is_urgent(self) -> bool:
        """Whether the device should be woken for it."""
        if self.event is None:
            return False
        has_sound = isinstance(self.tweaks.get("sound"), str)
        return has_sound or self.is_highlight or self.event.type in _URGENT_TYPES


def gateway_body(push: Push, *, with_content: bool = True) -> bytes:
    """Return the body of a request to a push gateway."""
    pusher = push.pusher
    device: JsonObject = {
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "pushkey_ts": pusher.set_ts // 1000,
        # "the entire content including `format` and any custom keys but excluding `url`"
        "data": {name: value for name, value in push.content.items() if name != "url"},
    }
    notification: JsonObject = {"counts": push.counts.as_json(), "devices": [device]}
    if push.event is not None:
        device["tweaks"] = push.tweaks
        notification.update(_about(push, push.event, is_short=_is_short(push)))
        notification["prio"] = "high" if push.is_urgent else "low"
    if not with_content:
        notification.pop("content", None)
    return _encode({"notification": notification})


def web_push_payload(push: Push, max_bytes: int) -> bytes:
    """Return what a client decrypts: the members of a notification, not nested.

    What does not fit in is left out, the largest first. Spec: MSC4174
    """
    payload: JsonObject = {}
    default = push.content.get("default_payload")
    if isinstance(default, dict):
        payload.update(default)
    if push.event is not None:
        payload.update(_about(push, push.event, is_short=_is_short(push)))
        payload["prio"] = "high" if push.is_urgent else "low"
        if not _is_short(push):
            payload["tweaks"] = push.tweaks
    payload["unread"] = push.counts.unread
    if push.counts.missed_calls:
        payload["missed_calls"] = push.counts.missed_calls
    encoded = _encode(payload)
    for name in (*_LARGE_MEMBERS, *(default if isinstance(default, dict) else ())):
        if len(encoded) <= max_bytes:
            break
        payload.pop(name, None)
        encoded = _encode(payload)
    return encoded


def display_name_of(event: PushedEvent) -> str:
    """Return the sender's display name in the room, or the user ID."""
    return _text(event.member_core, "displayname") or event.sender


def room_name_of(event: PushedEvent) -> str | None:
    """Return the name of the room, else its alias; None: it has neither."""
    return _text(event.name_core, "name") or _text(event.alias_core, "alias")


def content_of(event: PushedEvent) -> JsonObject:
    """Return the content of an event."""
    return _decode(event.core)["content"] if event.core else {}


def _is_short(push: Push) -> bool:
    return push.content.get("format") == EVENT_ID_ONLY


def _about(push: Push, event: PushedEvent, *, is_short: bool) -> JsonObject:
    told: JsonObject = {"event_id": event.event_id, "room_id": event.room_id}
    if is_short:
        return told
    told["type"], told["sender"] = event.type, event.sender
    told["sender_display_name"] = display_name_of(event)
    name, alias = _text(event.name_core, "name"), _text(event.alias_core, "alias")
    if name is not None:
        told["room_name"] = name
    if alias is not None:
        told["room_alias"] = alias
    if event.type == "m.room.member":
        told["user_is_target"] = _is_target(event, push.pusher.user_id)
    if len(event.core) <= _MAX_CONTENT_BYTES:
        told["content"] = content_of(event)
    return told


def _is_target(event: PushedEvent, user_id: UserID) -> bool:
    return event.state_key == user_id


def _text(core: bytes | None, name: str) -> str | None:
    value = _decode(core)["content"].get(name) if core is not None else None
    return value if isinstance(value, str) and value else None


def rejected_keys(answer: object) -> Collection[str]:
    """Return the pushkeys that a gateway rejects; an answer of another shape rejects none."""
    rejected = answer.get("rejected") if isinstance(answer, dict) else None
    return [key for key in rejected if isinstance(key, str)] if isinstance(rejected, list) else []
