"""Asking other servers for events: the port `EventPeers`.

Whatever comes back is only of the right form and bounded; who asked checks what it says.
Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Sequence
from typing import Final

from federation.answer_shapes import event_id_from, event_ids_in, integer_in, objects_in
from federation.transport.client import MIB, FederationClient, path_of
from federation.transport.failures import RemoteBadAnswer
from homeserver.ports import StateIDs
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import FEDERATION_V1

# A PDU has up to 64 kB; what is more has room for the envelope and for `unsigned`.
_MAX_EVENT_BYTES: Final = 1 * MIB
# A page of history or of missing events, each event as large as it may be.
_MAX_PAGE_BYTES: Final = 16 * MIB
# The state of a room of some hundred thousand members with what authorizes it.
_MAX_STATE_BYTES: Final = 256 * MIB
_MAX_IDS_BYTES: Final = 16 * MIB
# Ten thousand events of the usual size. Whoever sends us one event makes us ask for as much.
_MAX_CHAIN_BYTES: Final = 16 * MIB
_MAX_STATE: Final = 250_000
_MAX_AUTH_CHAIN: Final = 50_000
# Servers may send more than the `limit` that they were asked for, and not at will.
_MAX_PAGE: Final = 500
_STATE_TIMEOUT_MS: Final = 120_000


class FederationEvents:
    """Asks one server a question."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def missing_events(
        self,
        server: ServerName,
        room_id: RoomID,
        *,
        latest: Sequence[EventID],
        earliest: Sequence[EventID],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject]:
        """Spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid"""
        answer = await self._client.post(
            server,
            path_of(FEDERATION_V1, "get_missing_events", room_id),
            body={
                "latest_events": list(latest),
                "earliest_events": list(earliest),
                "limit": limit,
                "min_depth": min_depth,
            },
            max_bytes=_MAX_PAGE_BYTES,
        )
        return objects_in(answer, "events", server, at_most=_MAX_PAGE)

    async def event(self, server: ServerName, event_id: EventID) -> JsonObject:
        """Spec: server-server-api/#get_matrixfederationv1eventeventid"""
        answer = await self._client.get(
            server, path_of(FEDERATION_V1, "event", event_id), max_bytes=_MAX_EVENT_BYTES
        )
        pdus = objects_in(answer, "pdus", server, at_most=1)
        if not pdus:
            raise RemoteBadAnswer(server, "the answer has no event")
        return pdus[0]

    async def event_auth(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject]:
        """Spec: server-server-api/#get_matrixfederationv1event_authroomideventid"""
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, "event_auth", room_id, event_id),
            max_bytes=_MAX_CHAIN_BYTES,
            timeout_ms=_STATE_TIMEOUT_MS,
        )
        return objects_in(answer, "auth_chain", server, at_most=_MAX_AUTH_CHAIN)

    async def state_ids(self, server: ServerName, room_id: RoomID, event_id: EventID) -> StateIDs:
        """Spec: server-server-api/#get_matrixfederationv1state_idsroomid"""
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, "state_ids", room_id),
            query={"event_id": event_id},
            max_bytes=_MAX_IDS_BYTES,
            timeout_ms=_STATE_TIMEOUT_MS,
        )
        return StateIDs(
            event_ids_in(answer, "pdu_ids", server, at_most=_MAX_STATE),
            event_ids_in(answer, "auth_chain_ids", server, at_most=_MAX_AUTH_CHAIN),
        )

    async def state(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the state before an event and its auth chain.

        Spec: server-server-api/#get_matrixfederationv1stateroomid
        """
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, "state", room_id),
            query={"event_id": event_id},
            max_bytes=_MAX_STATE_BYTES,
            timeout_ms=_STATE_TIMEOUT_MS,
        )
        return (
            objects_in(answer, "pdus", server, at_most=_MAX_STATE),
            objects_in(answer, "auth_chain", server, at_most=_MAX_AUTH_CHAIN),
        )

    async def backfill(
        self, server: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[JsonObject]:
        """Spec: server-server-api/#get_matrixfederationv1backfillroomid"""
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, "backfill", room_id),
            query={"v": list(event_ids), "limit": limit},
            max_bytes=_MAX_PAGE_BYTES,
        )
        return objects_in(answer, "pdus", server, at_most=_MAX_PAGE)

    async def timestamp_to_event(
        self, server: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int]:
        """Return the event closest to a time, and the time that it is said to have.

        Spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
        """
        answer = await self._client.get(
            server,
            path_of(FEDERATION_V1, "timestamp_to_event", room_id),
            query={"ts": ts, "dir": "f" if forwards else "b"},
        )
        event_id = event_id_from(answer.get("event_id"), server)
        return event_id, integer_in(answer, "origin_server_ts", server)
