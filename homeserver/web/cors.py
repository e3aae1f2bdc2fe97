"""The headers that let browsers use the APIs. Spec: client-server-api/#web-browser-clients"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

_ALLOWED_HEADERS: Final = (
    "X-Requested-With",
    "Content-Type",
    "Authorization",
    # Browsers send it for authenticated media and for conditional requests.
    "Range",
    "If-None-Match",
    "If-Match",
)
# Without this, scripts cannot read how long to wait, or quote the request in a report.
_EXPOSED_HEADERS: Final = ("Retry-After", "X-Request-ID", "ETag", "Location")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
# How long browsers may keep a preflight answer; they cap it at two hours or less themselves.
_MAX_AGE_SECONDS: Final = 86_400


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Which origins may use the APIs; any, as the specification recommends, by default.

    With a list, the answer names the origin of the request only when it is listed.
    """

    allowed_origins: Sequence[str] = ("*",)
    extra_headers: Sequence[str] = ()

    @property
    def allows_all(self) -> bool:
        """Whether answers are the same for every origin."""
        return "*" in self.allowed_origins

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the headers of any answer to a request with this `Origin` header."""
        if self.allows_all:
            return self._headers_for("*")
        if origin is not None and origin in self.allowed_origins:
            return {**self._headers_for(origin), "Vary": "Origin"}
        return {"Vary": "Origin"}

    def preflight_headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the headers of the answer to an OPTIONS request."""
        return {**self.headers(origin), "Access-Control-Max-Age": str(_MAX_AGE_SECONDS)}

    def _headers_for(self, origin: str) -> Mapping[str, str]:
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": ", ".join(_METHODS),
            "Access-Control-Allow-Headers": ", ".join((*_ALLOWED_HEADERS, *self.extra_headers)),
            "Access-Control-Expose-Headers": ", ".join(_EXPOSED_HEADERS),
        }
