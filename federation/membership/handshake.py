"""Both steps of changing a local user's membership through another server: make, then send."""

from typing import Final, NamedTuple

from federation.membership.refusals import lacks_endpoint
from federation.membership.template import Membership, Signer, Template, event_of, read_template
from federation.transport.client import FederationClient, path_of
from federation.transport.failures import RemoteRefusal
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey
from homeserver.telemetry.clock import Clock
from homeserver.web.paths import FEDERATION_V1, FEDERATION_V2

# There may be another server that answers at once.
_MAKE_TIMEOUT_MS: Final = 15_000


class Signature(NamedTuple):
    """The name of this server and the key that it signs with."""

    server_name: ServerName
    signing_key: SigningKey


class Handshake:
    """Asks a server for a template, and sends it the event."""

    def __init__(self, client: FederationClient, signature: Signature, clock: Clock) -> None:
        self._client = client
        self._signature = signature
        self._clock = clock

    async def make(
        self, server: ServerName, operation: str, wanted: Membership
    ) -> tuple[Event, Template]:
        """Return the event for a membership, and where it stands, by `make_…` at a server.

        Raises RemoteError; InvalidEvent: the content is too large.
        """
        # Only leaving has no negotiation of versions: nothing is known of the room afterwards.
        query = {} if operation == "make_leave" else {"ver": list(ROOM_VERSIONS)}
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, operation, wanted.room_id, wanted.user_id),
            query=query,
            timeout_ms=_MAKE_TIMEOUT_MS,
            # Whoever asks is waiting, and the server may be there again.
            ignore_backoff=True,
        )
        template = read_template(server, answer, wanted)
        signer = Signer(*self._signature, now_ms=self._clock.now_ms())
        return event_of(template, wanted, signer), template

    async def send(
        self,
        server: ServerName,
        operation: str,
        event: Event,
        *,
        query: dict[str, str] | None = None,
        timeout_ms: int,
        max_bytes: int,
    ) -> JsonObject:
        """Send an event by version 2 of `send_…`, by version 1 where there is no other.

        Raises RemoteError.
        """
        segments = (operation, event.room_id, event.event_id)
        try:
            return await self._client.put(
                server,
                path_of(FEDERATION_V2, *segments),
                body=event.pdu,
                query=query,
                timeout_ms=timeout_ms,
                max_bytes=max_bytes,
            )
        except RemoteRefusal as refusal:
            if not lacks_endpoint(refusal):
                raise
        return await self._client.put(
            server,
            path_of(FEDERATION_V1, *segments),
            body=event.pdu,
            timeout_ms=timeout_ms,
            max_bytes=max_bytes,
        )

    async def send_v1(self, server: ServerName, operation: str, event: Event) -> JsonObject:
        """Send an event by an operation that has only a version 1. Raises RemoteError."""
        path = path_of(FEDERATION_V1, operation, event.room_id, event.event_id)
        return await self._client.put(server, path, body=event.pdu)
