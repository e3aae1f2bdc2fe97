"""Joining rooms through other servers. Spec: server-server-api/#joining-rooms"""

import asyncio
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from federation.membership.candidates import Candidates
from federation.membership.completion import CompleteJoins
from federation.membership.handshake import Handshake
from federation.membership.template import AUTHORISING_USER, Membership, Template
from federation.transport.client import MIB
from federation.transport.failures import RemoteBadAnswer
from homeserver.ports import EventSignatures
from homeserver.protocol.errors import (
    AuthRefusal,
    InvalidEvent,
    InvalidIdentifier,
    UnsupportedRoomVersion,
)
from homeserver.protocol.event import Event
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.identifiers import RoomID, ServerName, UserID, parse_server_name
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules, rules_of
from homeserver.rooms.receive.new_room import NewRoom
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# The state of a room of 100,000 members, if it comes whole.
_MAX_ANSWER_BYTES: Final = 128 * MIB
_SEND_TIMEOUT_MS: Final = 120_000
# So many servers are the longest lists of public rooms; more would be made up.
_MAX_SERVERS: Final = 20_000
_MAX_SIGNATURES: Final = 4


class _Answer(msgspec.Struct, frozen=True):
    """What a server has answered to a join."""

    # What stands in them is unchecked.
    state: list[JsonValue]
    auth_chain: list[JsonValue]
    event: JsonValue
    servers_in_room: list[ServerName]
    is_partial: bool


class RemoteJoins:
    """Joins rooms of which this server knows nothing, or nothing any more."""

    def __init__(
        self,
        handshake: Handshake,
        candidates: Candidates,
        new_rooms: NewRoom,
        signatures: EventSignatures,
        completion: CompleteJoins,
    ) -> None:
        self._handshake = handshake
        self._candidates = candidates
        self._new_rooms = new_rooms
        self._signatures = signatures
        self._completion = completion
        # Of two users who join at once the second one finds the room here.
        self._locks: WeakValueDictionary[RoomID, asyncio.Lock] = WeakValueDictionary()

    async def join(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Join through the first server that lets the user in. Raises MatrixError, RemoteError."""
        wanted = Membership(user_id, room_id, "join", content)
        lock = self._locks.setdefault(room_id, asyncio.Lock())
        async with lock:
            servers = await self._candidates.of(user_id, room_id, via)
            await self._candidates.first(servers, lambda server: self._through(server, wanted))

    async def _through(self, server: ServerName, wanted: Membership) -> None:
        event, template = await self._handshake.make(server, "make_join", wanted)
        answer = _read(
            server,
            await self._handshake.send(
                server,
                "send_join",
                event,
                query={"omit_members": "true"},
                timeout_ms=_SEND_TIMEOUT_MS,
                max_bytes=_MAX_ANSWER_BYTES,
            ),
        )
        rules = template.rules if template.is_version_known else _rules_in(answer, template)
        try:
            signed = await self._signed(event, answer.event, rules)
            await self._new_rooms.accept(
                rules,
                signed,
                answer.state,
                answer.auth_chain,
                server=server,
                servers_in_room=answer.servers_in_room,
                partial=answer.is_partial,
            )
        except (InvalidEvent, AuthRefusal) as error:
            raise RemoteBadAnswer(server, f"answers a join with nonsense: {error}") from error
        if answer.is_partial:
            await self._completion.begin(wanted.room_id)
        log.info(
            "joined through another server",
            room_id=wanted.room_id,
            server=server,
            is_partial=answer.is_partial,
        )

    async def _signed(self, event: Event, answered: JsonValue, rules: RoomVersionRules) -> Event:
        """Return our event with the signatures that the other server has added.

        Raises InvalidEvent: it needs one that is not there.
        """
        pdu = {**event.pdu, "signatures": {**_signatures_of(answered), **event.pdu["signatures"]}}
        signed = event_from_pdu(pdu, rules)
        # Our own signature needs no proof.
        if AUTHORISING_USER not in event.content:
            return signed
        if signed.event_id not in await self._signatures.verify_events([signed]):
            raise InvalidEvent("the server that authorizes the join has not signed it")
        return signed


def _read(server: ServerName, answer: JsonObject) -> _Answer:
    state, auth_chain = answer.get("state"), answer.get("auth_chain")
    if not isinstance(state, list) or not isinstance(auth_chain, list):
        raise RemoteBadAnswer(server, "answers a join without the room's state")
    # Whoever answers is in the room and alive; of the others some thousand may be long gone.
    servers_in_room = dict.fromkeys((server, *_server_names(answer.get("servers_in_room"))))
    return _Answer(
        state=state,
        auth_chain=auth_chain,
        event=answer.get("event"),
        servers_in_room=list(servers_in_room),
        is_partial=answer.get("members_omitted") is True,
    )


def _server_names(value: JsonValue) -> list[ServerName]:
    names: list[ServerName] = []
    for each in value[:_MAX_SERVERS] if isinstance(value, list) else ():
        try:
            names.append(parse_server_name(each if isinstance(each, str) else ""))
        except InvalidIdentifier:
            continue
    return names


def _signatures_of(answered: JsonValue) -> dict[str, dict[str, str]]:
    """Return the first well-formed signatures of an event: nobody may make ours a large one."""
    signatures = answered.get("signatures") if isinstance(answered, dict) else None
    found: dict[str, dict[str, str]] = {}
    for server, of_server in signatures.items() if isinstance(signatures, dict) else ():
        if isinstance(of_server, dict) and len(found) < _MAX_SIGNATURES:
            found[server] = {
                key_id: signature
                for key_id, signature in list(of_server.items())[:_MAX_SIGNATURES]
                if isinstance(signature, str)
            }
    return found


def _rules_in(answer: _Answer, template: Template) -> RoomVersionRules:
    """Return the rules that the create event names; the two versions it may be look alike."""
    for pdu in (*answer.state, *answer.auth_chain):
        if isinstance(pdu, dict) and pdu.get("type") == "m.room.create":
            content = pdu.get("content")
            version = content.get("room_version", "1") if isinstance(content, dict) else None
            try:
                rules = rules_of(version if isinstance(version, str) else "")
            except UnsupportedRoomVersion:
                continue
            if rules.event_id_format is template.rules.event_id_format:
                return rules
    return template.rules
