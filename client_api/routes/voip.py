"""Voice over IP. Spec: client-server-api/#voice-over-ip"""

from homeserver.services.turn import Turn, TurnCredentials
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class VoipRoutes:
    """`GET /voip/turnServer`."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @endpoint(
        "GET",
        CLIENT_V3 / "voip/turnServer",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        # Not on the specification's list: a setting decides.
        guests=True,
        spec="client-server-api/#get_matrixclientv3voipturnserver",
    )
    async def get_turn_server(self, requester: Requester) -> TurnCredentials | Empty:
        """Obtain TURN server credentials; clients take `{}` for "there is no TURN server"."""
        return self._turn.credentials(requester) or Empty()
