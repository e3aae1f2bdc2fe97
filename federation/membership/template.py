"""What another server proposes as a user's membership event, and the event made of it.

Of a proposal only the place in the room's graph is taken over, and who authorizes a restricted
join. Type, room, user and content are ours, so that nobody gets us to sign anything else.
Spec: server-server-api/#joining-rooms, the same for knocking and leaving
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from federation.transport.failures import RemoteBadAnswer
from homeserver.protocol.errors import (
    InvalidEvent,
    InvalidIdentifier,
    InvalidJson,
    UnsupportedRoomVersion,
)
from homeserver.protocol.event import Event
from homeserver.protocol.event_builder import EventDraft, build_event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID, parse_user_id
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules, rules_of
from homeserver.protocol.signing import SigningKey

AUTHORISING_USER: Final = "join_authorised_via_users_server"
# "If not provided, the room version is assumed to be either 1 or 2."
_OLDEST_VERSION: Final = "1"
_OPAQUE_ID_BYTES: Final = 15


class Membership(NamedTuple):
    """A membership that a local user wants in a room."""

    user_id: UserID
    room_id: RoomID
    membership: str
    # The whole content, `membership` too.
    content: JsonObject


class Signer(NamedTuple):
    """Who signs, and when."""

    server_name: ServerName
    signing_key: SigningKey
    now_ms: int


class Template(msgspec.Struct, frozen=True):
    """The place of the event in the room's graph."""

    rules: RoomVersionRules
    # False: the server did not name the version, and it is 1 or 2.
    is_version_known: bool
    prev_events: Sequence[EventID]
    auth_events: Sequence[EventID]
    depth: int
    # Of the events above; only where the room version cites them.
    reference_hashes: Mapping[EventID, str]
    authorising_user: UserID | None


def read_template(server: ServerName, answer: JsonObject, wanted: Membership) -> Template:
    """Read the answer to a `make_…` request. Raises RemoteBadAnswer: it is of something else."""
    version = answer.get("room_version")
    try:
        rules = rules_of(version if isinstance(version, str) else _OLDEST_VERSION)
        proposed = _checked(answer.get("event"), wanted)
        event = event_from_pdu(_as_pdu(proposed, wanted), rules)
        user = _authorising_user(proposed, wanted, rules)
    except (UnsupportedRoomVersion, InvalidEvent, InvalidIdentifier, InvalidJson) as error:
        raise RemoteBadAnswer(server, f"bad template: {error}") from None
    if not event.prev_events:
        raise RemoteBadAnswer(server, "bad template: nothing comes before it")
    return Template(
        rules,
        version is not None,
        event.prev_events,
        event.auth_events,
        event.depth,
        _reference_hashes(event.pdu),
        user,
    )


def event_of(template: Template, wanted: Membership, signer: Signer) -> Event:
    """Make the event, signed by this server. Raises InvalidEvent, InvalidJson: by our content."""
    content = {key: each for key, each in wanted.content.items() if key != AUTHORISING_USER}
    if template.authorising_user is not None:
        content[AUTHORISING_USER] = template.authorising_user
    return build_event(
        EventDraft(
            type="m.room.member",
            sender=wanted.user_id,
            content={**content, "membership": wanted.membership},
            room_id=wanted.room_id,
            state_key=wanted.user_id,
        ),
        rules=template.rules,
        prev_events=template.prev_events,
        auth_events=template.auth_events,
        depth=template.depth,
        origin_server_ts=signer.now_ms,
        server_name=signer.server_name,
        signing_key=signer.signing_key,
        opaque_id=secrets.token_urlsafe(_OPAQUE_ID_BYTES),
        reference_hashes=template.reference_hashes,
    )


def _checked(proposed: JsonValue, wanted: Membership) -> JsonObject:
    """Check what the specification wants checked. Raises InvalidEvent."""
    if not isinstance(proposed, dict) or not isinstance(proposed.get("content"), dict):
        raise InvalidEvent("no event")
    expected = (
        ("type", "m.room.member"),
        ("room_id", wanted.room_id),
        ("sender", wanted.user_id),
        ("state_key", wanted.user_id),
    )
    for key, value in expected:
        if proposed.get(key) != value:
            raise InvalidEvent(f"{key} is that of another event")
    if proposed["content"].get("membership") != wanted.membership:
        raise InvalidEvent("membership is that of another event")
    return proposed


def _as_pdu(proposed: JsonObject, wanted: Membership) -> JsonObject:
    """Return a PDU of which only the references and the depth are theirs, to check their form."""
    return {
        "type": "m.room.member",
        "room_id": wanted.room_id,
        "sender": wanted.user_id,
        "state_key": wanted.user_id,
        "content": {},
        "origin_server_ts": 0,
        "hashes": {"sha256": ""},
        "signatures": {},
        # Only room versions 1 and 2 look at it.
        "event_id": f"$template:{wanted.user_id.partition(':')[2]}",
        **{key: proposed.get(key) for key in ("prev_events", "auth_events", "depth")},
    }


def _reference_hashes(pdu: JsonObject) -> dict[EventID, str]:
    hashes: dict[EventID, str] = {}
    references: list[Any] = [*pdu["prev_events"], *pdu["auth_events"]]
    for each in references:
        if isinstance(each, list) and isinstance(each[1].get("sha256"), str):
            hashes[EventID(each[0])] = each[1]["sha256"]
    return hashes


def _authorising_user(
    proposed: JsonObject, wanted: Membership, rules: RoomVersionRules
) -> UserID | None:
    """Return who authorizes the join. Raises InvalidIdentifier."""
    if wanted.membership != "join" or not rules.restricted_joins:
        return None
    user = proposed["content"].get(AUTHORISING_USER)
    return parse_user_id(user) if isinstance(user, str) else None
