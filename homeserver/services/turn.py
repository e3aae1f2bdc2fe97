"""Credentials for the TURN server. Spec: client-server-api/#voice-over-ip"""

import base64
import hmac

import msgspec

from homeserver.config.sections.turn import TurnSection
from homeserver.errors import GuestAccessForbidden
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class TurnCredentials(msgspec.Struct, frozen=True):
    """What a client shows to the TURN server; `ttl` in seconds."""

    username: str
    password: str
    uris: tuple[str, ...]
    ttl: int


class Turn:
    """Gives every user credentials: of their own and for a while, or the same for all."""

    def __init__(self, settings: TurnSection, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def credentials(self, requester: Requester) -> TurnCredentials | None:
        """Return credentials, None where there is no TURN server.

        Raises GuestAccessForbidden.
        """
        settings = self._settings
        if requester.is_guest and not settings.guests_allowed:
            raise GuestAccessForbidden
        if not settings.uris:
            return None
        username, password = self._account(requester)
        return TurnCredentials(username, password, settings.uris, settings.lifetime_seconds)

    def _account(self, requester: Requester) -> tuple[str, str]:
        settings = self._settings
        if settings.shared_secret is None:
            assert settings.username is not None
            assert settings.password is not None
            return settings.username, settings.password.reveal()
        # As TURN servers expect it: draft-uberti-behave-turn-rest-00, section 2.2.
        expires = self._clock.now_ms() // 1000 + settings.lifetime_seconds
        username = f"{expires}:{requester.user_id}"
        mac = hmac.digest(settings.shared_secret.reveal().encode(), username.encode(), "sha1")
        return username, base64.b64encode(mac).decode()
