"""Events that no well-behaved server makes, hashed and signed as if they were good ones."""

import copy
from random import Random
from typing import Any

from homeserver.protocol.errors import InvalidEvent, InvalidJson
from homeserver.protocol.hashing import add_content_hash, event_id_of
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.signing import SigningKey, sign_event
from tests.support.request_generator import NUMBERS, STRINGS

# What can be written as JSON: a lone surrogate ends a request before its events are looked at.
_STRINGS = tuple(each for each in STRINGS if each != "\ud800")
_MEMBERS = (
    "auth_events", "prev_events", "content", "depth", "hashes", "origin", "origin_server_ts",
    "redacts", "room_id", "sender", "signatures", "state_key", "type", "unsigned", "event_id",
    "membership", "users", "users_default", "events", "third_party_invite", "signed", "reason",
    "join_authorised_via_users_server", "join_rule", "allow", "deny", "m.relates_to", "rel_type",
    "creator", "room_version", "predecessor", "body", "displayname", "avatar_url", "topic", "ban",
    "additional_creators", "m.mentions", "user_ids", "public_keys", "is_direct",
)  # fmt: skip


def forged(
    pdu: JsonObject, rules: RoomVersionRules, server: ServerName, key: SigningKey, **changes: Any
) -> JsonObject:
    """Return a PDU with other members, hashed and signed anew; None takes a member away."""
    changed = {**pdu, **changes}
    changed = {name: value for name, value in changed.items() if changes.get(name, 0) is not None}
    if "signatures" not in changes:
        changed.pop("signatures", None)
    if "hashes" not in changes:
        changed.pop("hashes", None)
        changed = add_content_hash(changed, rules)
    return changed if "signatures" in changes else sign_event(changed, rules, server, key)


def id_of(pdu: JsonObject, rules: RoomVersionRules) -> str:
    """Return the event ID that a PDU has, or something else where it has none."""
    try:
        return event_id_of(pdu, rules)
    except (InvalidEvent, InvalidJson, KeyError):
        return "$none"


class EventForger:
    """Changes events at random; the same seed makes the same changes."""

    def __init__(self, seed: int, server: ServerName, key: SigningKey) -> None:
        self._random = Random(seed)
        self._server = server
        self._key = key

    def changes(self, pdu: JsonObject, rules: RoomVersionRules) -> JsonObject:
        """Return an event with one to three changes, mostly with the right hash and signature."""
        changed = copy.deepcopy(pdu)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            self._change(changed)
        if self._random.random() < 0.1:
            return changed
        kept = {
            name: changed.get(name)
            for name in ("hashes", "signatures")
            if changed.get(name) != pdu.get(name)
        }
        try:
            return forged(changed, rules, self._server, self._key, **kept)
        except (InvalidEvent, InvalidJson, AttributeError, TypeError, KeyError):
            # Not even a hash can be made of it.
            return changed

    def changed_value(self, value: Any) -> Any:
        """Return any JSON value with a few changes."""
        changed = {"value": copy.deepcopy(value)}
        for _ in range(self._random.choice((1, 1, 2, 3))):
            self._change(changed["value"] if isinstance(changed["value"], dict) else changed)
        return changed["value"]

    def _change(self, value: Any) -> None:
        """Change something somewhere in an object or a list."""
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys or self._random.random() < 0.15:
            self._add(value)
            return
        key = self._random.choice(keys)
        if isinstance(value[key], dict | list) and self._random.random() < 0.6:
            self._change(value[key])
        elif self._random.random() < 0.15:
            del value[key]
        else:
            value[key] = self.anything(0)

    def _add(self, value: Any) -> None:
        if isinstance(value, dict):
            name = self._random.choice((*_MEMBERS, *_STRINGS[:10]))
            value[name] = self.anything(0)
        else:
            value.append(self.anything(0))

    def anything(self, depth: int) -> Any:
        """Make any JSON value."""
        match self._random.randrange(8 if depth < 4 else 5):
            case 0:
                return None
            case 1:
                return self._random.random() < 0.5
            case 2:
                return self._random.choice(NUMBERS)
            case 3 | 4:
                return self._random.choice(_STRINGS)
            case 5:
                return [self.anything(depth + 1) for _ in range(self._random.choice((0, 1, 30)))]
        names = (*_MEMBERS, *_STRINGS[:10])
        return {
            self._random.choice(names): self.anything(depth + 1)
            for _ in range(self._random.choice((0, 1, 3)))
        }
