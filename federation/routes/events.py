"""Single events and what authorizes them.

Spec: server-server-api/#retrieving-events
"""

import msgspec

from federation.room_rights import RoomRights
from federation.routes.pdu_answers import PduTransaction, raw_pdus
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.rooms.serving import AuthChains, History
from homeserver.telemetry.clock import Clock
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params
from homeserver.web.paths import FEDERATION_V1


class EventPath(Params, frozen=True):
    """An event of any room."""

    event_id: EventID


class RoomEventPath(Params, frozen=True):
    """An event of a room."""

    room_id: RoomID
    event_id: EventID


class AuthChainAnswer(msgspec.Struct, frozen=True):
    """The auth chain of an event."""

    auth_chain: list[msgspec.Raw]


class EventRoutes:
    """The endpoints `event` and `event_auth`."""

    def __init__(
        self,
        rights: RoomRights,
        history: History,
        auth_chains: AuthChains,
        clock: Clock,
        own_name: ServerName,
    ) -> None:
        self._rights = rights
        self._history = history
        self._auth_chains = auth_chains
        self._clock = clock
        self._own_name = own_name

    @endpoint(
        "GET",
        FEDERATION_V1 / "event/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1eventeventid",
    )
    async def get_event(self, origin: ServerName, path: EventPath) -> PduTransaction:
        """Retrieve a single event."""
        await self._rights.admit_to_event(origin, path.event_id)
        served = await self._history.event(origin, path.event_id)
        if served is None:
            raise NotFound("Could not find the event")
        return PduTransaction(self._own_name, self._clock.now_ms(), raw_pdus([served]))

    @endpoint(
        "GET",
        FEDERATION_V1 / "event_auth/{room_id}/{event_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#get_matrixfederationv1event_authroomideventid",
    )
    async def get_event_auth(self, origin: ServerName, path: RoomEventPath) -> AuthChainAnswer:
        """Retrieve the complete auth chain of an event."""
        await self._rights.admit_to_event(origin, path.event_id, path.room_id)
        return AuthChainAnswer(raw_pdus(await self._auth_chains.of([path.event_id])))
