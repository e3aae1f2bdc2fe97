"""Policy servers: rooms that have one show only events that it has signed.

Spec: server-server-api/#policy-servers
"""

from typing import Final, NamedTuple

from homeserver.errors import Forbidden, MatrixError, RemoteError
from homeserver.ports import PolicySigner
from homeserver.protocol.errors import BadSignature, InvalidEvent, InvalidIdentifier
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.identifiers import KeyID, ServerName, parse_server_name
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import add_signature, verify_event
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.servers_in_room import is_joined
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

POLICY: Final[StateKey] = ("m.room.policy", "")
# The specification gives the key of every policy server the same ID.
KEY_ID: Final = KeyID("ed25519:policy_server")
_MAX_REMEMBERED: Final = 1_000


class PolicyServer(NamedTuple):
    """Who recommends the events of a room, and the key to tell by."""

    name: ServerName
    public_key: str


class PolicyServers:
    """Knows the policy servers of rooms and has them sign events."""

    def __init__(self, cache: EventCache, signer: PolicySigner) -> None:
        self._cache = cache
        self._signer = signer
        # By room: which state and server, and whether the server was joined in it. Finding out
        # is a look at the whole state, and most events change none.
        self._joined: dict[int, tuple[tuple[int, int, ServerName], bool]] = {}

    async def of(self, head: RoomHead) -> PolicyServer | None:
        """Return the policy server that a room uses now.

        Spec: server-server-api/#determining-if-a-policy-server-is-enabled-in-a-room
        """
        entry = head.state.get(POLICY)
        if entry is None:
            return None
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        server = None if event is None else _policy_server(event.content)
        # "has at least one joined user in the room in *current state*"; as long as members are not
        # known, who has been chosen counts as there: what it has not signed others do not show.
        is_there = server is not None and (head.is_partial_state or self._is_joined(head, server))
        return server if is_there else None

    def _is_joined(self, head: RoomHead, server: PolicyServer) -> bool:
        # The number of members as well: those who were omitted come into the same snapshot.
        state = (head.state_nid, head.joined, server.name)
        known = self._joined.pop(head.room_nid, None)
        joined = known[1] if known and known[0] == state else is_joined(head, server.name)
        self._joined[head.room_nid] = state, joined
        if len(self._joined) > _MAX_REMEMBERED:
            del self._joined[next(iter(self._joined))]
        return joined

    async def recommends(self, head: RoomHead, event: Event) -> bool:
        """Whether an event has the signature of the room's policy server, or needs none."""
        server = await self.of(head)
        return server is None or _is_exempt(event) or _is_signed(event, head, server)

    async def signed(self, head: RoomHead, event: Event) -> Event:
        """Return an event of this server with the signature that it needs.

        Raises MatrixError: what the policy server refuses with; RemoteError: it is out of reach;
        Forbidden: what it gives is no signature.
        """
        server = await self.of(head)
        if server is None or _is_exempt(event):
            return event
        signed = await self._ask(head, event, server)
        if signed is None:
            raise Forbidden("The policy server of the room did not sign the event")
        return signed

    async def signed_if_possible(self, head: RoomHead, event: Event) -> Event:
        """Return a received event, with a new signature where it lacks a valid one.

        "a new one is requested because the Policy Server's key may have rotated"
        """
        server = await self.of(head)
        if server is None or _is_exempt(event) or _is_signed(event, head, server):
            return event
        try:
            return await self._ask(head, event, server) or event
        except (MatrixError, RemoteError) as error:
            log.warning("not signed by policy server", event_id=event.event_id, reason=str(error))
            return event

    async def _ask(self, head: RoomHead, event: Event, server: PolicyServer) -> Event | None:
        answer = await self._signer.sign(server.name, event.pdu)
        of_server = answer.get(server.name)
        signature = of_server.get(KEY_ID) if isinstance(of_server, dict) else None
        if not isinstance(signature, str):
            return None
        pdu = add_signature(event.pdu, server.name, KEY_ID, signature)
        try:
            # The signature may be of any length, and an event may not.
            signed = event_from_pdu(pdu, head.rules)
        except InvalidEvent:
            return None
        return signed if _is_signed(signed, head, server) else None


def _policy_server(content: JsonObject) -> PolicyServer | None:
    via, keys = content.get("via"), content.get("public_keys")
    public_key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(public_key, str):
        return None
    try:
        return PolicyServer(parse_server_name(via), public_key)
    except InvalidIdentifier:
        # No such server has a user.
        return None


def _is_exempt(event: Event) -> bool:
    """The event that chooses the policy server is not its to judge."""
    return (event.type, event.state_key) == POLICY


def _is_signed(event: Event, head: RoomHead, server: PolicyServer) -> bool:
    try:
        verify_event(event.pdu, head.rules, server.name, KEY_ID, server.public_key)
    except BadSignature:
        return False
    return True
