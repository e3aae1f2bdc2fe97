"""Inviting users of other servers. Spec: server-server-api/#inviting-to-a-room"""

from typing import Final

from federation.membership.refusals import lacks_endpoint, passed_on
from federation.membership.room_previews import described_by
from federation.policy import FederationPolicy
from federation.transport.client import FederationClient, path_of
from federation.transport.failures import RemoteBadAnswer, RemoteRefusal
from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.event import Event
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import EventIDFormat
from homeserver.rooms.build import EventBuilder, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.accept import AcceptEvent
from homeserver.rooms.stripped_state import shown_outside
from homeserver.web.paths import FEDERATION_V1, FEDERATION_V2

_TIMEOUT_MS: Final = 30_000
_MAX_SIGNATURES: Final = 4


class RemoteInvites:
    """Invites users of other servers, whose servers must sign."""

    def __init__(
        self,
        client: FederationClient,
        policy: FederationPolicy,
        heads: Heads,
        cache: EventCache,
        builder: EventBuilder,
        accept: AcceptEvent,
        server_name: ServerName,
    ) -> None:
        self._client = client
        self._policy = policy
        self._heads = heads
        self._cache = cache
        self._builder = builder
        self._accept = accept
        self._server_name = server_name

    def check_reachable(self, target: UserID) -> None:
        """Refuse users of servers that will not be contacted. Raises Forbidden."""
        server = server_name_of(target)
        if not self._policy.may_talk_to(server):
            raise Forbidden(f"This server does not talk with {server}")

    async def invite(
        self, sender: UserID, target: UserID, room_id: RoomID, content: JsonObject
    ) -> EventID:
        """Invite a user; nothing happens when the user has been invited already.

        The room is not held up while the other server is asked: the event stands where the room
        was when it was built. Raises MatrixError, AuthRefusal, RemoteError.
        """
        self.check_reachable(target)
        head = await self._heads.head(room_id)
        if head is None or not head.local_joined:
            raise Forbidden("You are not in this room")
        entry = head.state.get(("m.room.member", target))
        is_member = head.membership_of(sender) == "join"
        if is_member and entry is not None and entry.membership == "invite":
            return entry.event_id
        draft = EventDraft(
            type="m.room.member",
            sender=sender,
            content={**content, "membership": "invite"},
            room_id=room_id,
            state_key=target,
        )
        built = await self._builder.build(head, draft, Sent())
        signed = await self._signed(head, built.event, server_name_of(target))
        await self._accept.accept(signed, self._server_name)
        return signed.event_id

    async def _signed(self, head: RoomHead, event: Event, server: ServerName) -> Event:
        """Return the event with the other server's signature. Raises MatrixError, RemoteError."""
        state = await shown_outside(head, self._cache, members=[event.sender])
        try:
            answer = await self._ask(head, event, server, described_by(state))
        except RemoteError as error:
            raise passed_on(error) or error from None
        signatures = _signatures(answer.get("event"), server)
        if not signatures:
            raise RemoteBadAnswer(server, "has not signed the invite")
        pdu = {**event.pdu, "signatures": {**event.pdu["signatures"], server: signatures}}
        try:
            return event_from_pdu(pdu, head.rules)
        except InvalidEvent as error:
            raise RemoteBadAnswer(server, f"signs an invite wrongly: {error}") from None

    async def _ask(
        self, head: RoomHead, event: Event, server: ServerName, state: list[JsonObject]
    ) -> JsonObject:
        segments = ("invite", event.room_id, event.event_id)
        body: JsonObject = {
            "room_version": head.rules.version,
            "event": event.pdu,
            "invite_room_state": state,
        }
        try:
            return await self._put(server, path_of(FEDERATION_V2, *segments), body)
        except RemoteRefusal as refusal:
            # "…should retry using the v1 API as the server may be older, if the room version is
            # 1 or 2."
            is_old = head.rules.event_id_format is EventIDFormat.SERVER_CHOSEN
            if not is_old or not lacks_endpoint(refusal):
                raise
        body = {**event.pdu, "unsigned": {"invite_room_state": state}}
        return await self._put(server, path_of(FEDERATION_V1, *segments), body)

    async def _put(self, server: ServerName, path: str, body: JsonObject) -> JsonObject:
        return await self._client.put(
            server, path, body=body, timeout_ms=_TIMEOUT_MS, ignore_backoff=True
        )


def _signatures(answered: JsonValue, server: ServerName) -> dict[str, str]:
    """Return the signatures of a server that an event has, a few of them."""
    signatures = answered.get("signatures") if isinstance(answered, dict) else None
    of_server = signatures.get(server) if isinstance(signatures, dict) else None
    found = of_server.items() if isinstance(of_server, dict) else ()
    return {key: each for key, each in list(found)[:_MAX_SIGNATURES] if isinstance(each, str)}
