"""The states of rooms before events.

Spec: server-server-api/#retrieving-events
"""

import msgspec

from federation.room_rights import RoomRights
from federation.routes.pdu_answers import raw_pdus
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.serving import StateBefore
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, Query
from homeserver.web.paths import FEDERATION_V1


class RoomPath(Params, frozen=True):
    """Which room."""

    room_id: RoomID


class EventQuery(Query, frozen=True):
    """The event before which the state is wanted."""

    event_id: EventID


class StateAnswer(msgspec.Struct, frozen=True):
    """A state and its auth chain."""

    auth_chain: list[msgspec.Raw]
    pdus: list[msgspec.Raw]


class StateIDsAnswer(msgspec.Struct, frozen=True):
    """The event IDs of a state and of its auth chain."""

    auth_chain_ids: list[EventID]
    pdu_ids: list[EventID]


class RoomStateRoutes:
    """The endpoints `state` and `state_ids`."""

    def __init__(self, rights: RoomRights, state_before: StateBefore) -> None:
        self._rights = rights
        self._state_before = state_before

    @endpoint(
        "GET",
        FEDERATION_V1 / "state/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1stateroomid",
    )
    async def get_state(self, origin: ServerName, path: RoomPath, query: EventQuery) -> StateAnswer:
        """Retrieve a snapshot of a room's state at an event."""
        await self._check(origin, path, query)
        served = await self._state_before.pdus(path.room_id, query.event_id)
        if served is None:
            raise NotFound("The state at this event is not known here")
        return StateAnswer(raw_pdus(served.auth_chain), raw_pdus(served.pdus))

    @endpoint(
        "GET",
        FEDERATION_V1 / "state_ids/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1state_idsroomid",
    )
    async def get_state_ids(
        self, origin: ServerName, path: RoomPath, query: EventQuery
    ) -> StateIDsAnswer:
        """Retrieve a snapshot of a room's state at an event, in the form of event IDs."""
        await self._check(origin, path, query)
        served = await self._state_before.ids(path.room_id, query.event_id)
        if served is None:
            raise NotFound("The state at this event is not known here")
        return StateIDsAnswer(auth_chain_ids=served[1], pdu_ids=served[0])

    async def _check(self, origin: ServerName, path: RoomPath, query: EventQuery) -> None:
        head = await self._rights.admit_to_event(origin, query.event_id, path.room_id)
        if head.is_partial_state:
            # It is not ours to tell before we have it all.
            raise NotFound("The state at this event is not known here")
