"""Uploading filters. Spec: client-server-api/#filtering"""

import msgspec

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserID
from homeserver.services.filters import Filters
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params, RawBody
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class FiltersPath(Params, frozen=True):
    """Whose filters."""

    user_id: UserID


class FilterPath(FiltersPath, frozen=True):
    """One of them."""

    filter_id: str


class FilterAnswer(msgspec.Struct, frozen=True):
    """The filter that was uploaded."""

    filter_id: str


class FilterRoutes:
    """The filters of users."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    @endpoint(
        "POST",
        CLIENT_V3 / "user/{user_id}/filter",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#post_matrixclientv3useruseridfilter",
    )
    async def post_filter(
        self, requester: Requester, path: FiltersPath, body: RawBody
    ) -> FilterAnswer:
        """Upload a filter."""
        _check_is_own(requester, path)
        return FilterAnswer(await self._filters.add(path.user_id, body.content))

    @endpoint(
        "GET",
        CLIENT_V3 / "user/{user_id}/filter/{filter_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3useruseridfilterfilterid",
    )
    async def get_filter(self, requester: Requester, path: FilterPath) -> JsonBytes:
        """Return a filter as it was uploaded."""
        _check_is_own(requester, path)
        return JsonBytes(await self._filters.definition(path.user_id, path.filter_id))


def _check_is_own(requester: Requester, path: FiltersPath) -> None:
    if requester.user_id != path.user_id:
        raise Forbidden("These are the filters of somebody else")
