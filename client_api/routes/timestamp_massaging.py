"""The `ts` parameter of application services.

Spec: application-service-api/#timestamp-massaging
"""

from typing import Final

from msgspec import UNSET, UnsetType

from homeserver.errors import InvalidParam
from homeserver.web.params import Query
from homeserver.web.requester import Requester

# appendices/#canonical-json: the largest integer.
_MAX_TS: Final = 2**53 - 1


class TimestampQuery(Query, frozen=True):
    """When the event was really sent, in ms since 1970; other clients' word does not count."""

    ts: str | UnsetType = UNSET

    def origin_server_ts(self, requester: Requester) -> int | None:
        """Return the time that an application service gives. Raises InvalidParam."""
        if self.ts is UNSET or requester.appservice_id is None:
            return None
        text = self.ts
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= _MAX_TS):
            raise InvalidParam("ts is a time in milliseconds")
        return int(text)
