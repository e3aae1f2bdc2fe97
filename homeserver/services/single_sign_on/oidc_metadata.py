"""What an OpenID Connect provider says about itself: its addresses and its keys."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeserver.config.sections.single_sign_on import OidcProvider
from homeserver.errors import RemoteError
from homeserver.services.single_sign_on.provider import SignInFailed
from homeserver.telemetry.clock import Clock
from homeserver.web.outgoing_http import OutgoingHttp

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
# Providers announce changes in no way; keys that are not known are looked for at once.
_FRESH_SECONDS: Final = 3600.0
UNREACHABLE: Final = "The provider cannot be reached at the moment"


class OidcAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider answers."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    # None: the provider has none.
    userinfo_endpoint: str | None = None


class OidcMetadata:
    """Reads addresses and keys of one provider, and remembers them for an hour."""

    def __init__(self, settings: OidcProvider, http: OutgoingHttp, clock: Clock) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._addresses: OidcAddresses | None = None
        self._keys: list[Mapping[str, Any]] | None = None
        self._addresses_read = self._keys_read = 0.0

    async def addresses(self) -> OidcAddresses:
        """Return the addresses, configured or discovered. Raises SignInFailed."""
        if self._addresses is None or not self._is_fresh(self._addresses_read):
            try:
                self._addresses = await self._read_addresses()
            except SignInFailed:
                # Better old than none.
                if self._addresses is None:
                    raise
            self._addresses_read = self._clock.monotonic()
        return self._addresses

    @property
    def has_keys(self) -> bool:
        """Whether keys are remembered that may have been replaced."""
        return self._keys is not None and self._is_fresh(self._keys_read)

    async def keys(self, *, is_fresh_wanted: bool = False) -> list[Mapping[str, Any]]:
        """Return the keys that sign tokens, as JSON Web Keys. Raises SignInFailed."""
        if self._keys is None or is_fresh_wanted or not self._is_fresh(self._keys_read):
            document = await self._get((await self.addresses()).jwks_uri)
            keys = document.get("keys")
            if not isinstance(keys, list):
                raise SignInFailed(UNREACHABLE, status=502, reason="no keys in the JWKS")
            self._keys = [key for key in keys if isinstance(key, dict)]
            self._keys_read = self._clock.monotonic()
        return self._keys

    def _is_fresh(self, read_at: float) -> bool:
        return self._clock.monotonic() - read_at < _FRESH_SECONDS

    async def _read_addresses(self) -> OidcAddresses:
        settings = self._settings
        found = await self._discovered() if settings.discovery_enabled else {}
        chosen = {
            name: getattr(settings, name) or found.get(name)
            for name in OidcAddresses.__struct_fields__
        }
        try:
            return msgspec.convert(chosen, OidcAddresses)
        except msgspec.ValidationError as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=f"discovery: {error}") from error

    async def _discovered(self) -> Mapping[str, Any]:
        document = await self._get(self._settings.issuer.rstrip("/") + _WELL_KNOWN)
        # OpenID Connect Discovery 4.3: "MUST be identical".
        if document.get("issuer") != self._settings.issuer:
            raise SignInFailed(
                UNREACHABLE, status=502, reason="the discovery document has another issuer"
            )
        return document

    async def _get(self, url: str) -> Mapping[str, Any]:
        try:
            answer = await self._http.request_json("GET", url)
        except RemoteError as error:
            raise SignInFailed(UNREACHABLE, status=502, reason=error.reason) from error
        if answer.status != 200 or not isinstance(answer.content, dict):
            raise SignInFailed(UNREACHABLE, status=502, reason=f"{answer.status} from {url}")
        return answer.content
