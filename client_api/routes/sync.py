"""Syncing. Spec: client-server-api/#syncing"""

from typing import Literal

from msgspec import UNSET, UnsetType, field

from client_api.sync.request import StateKeyName, SyncRequest
from client_api.sync.sync import Sync
from homeserver.errors import InvalidParam
from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.sync_token import SyncToken, parse_sync_token
from homeserver.services.filters import Filters
from homeserver.services.presence import Presence
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class SyncQuery(Query, frozen=True, kw_only=True):
    """What the client has and what it wants."""

    filter: str | UnsetType = UNSET
    since: str | UnsetType = UNSET
    full_state: bool = False
    set_presence: Literal["online", "offline", "unavailable"] = "online"
    timeout: int = 0
    use_state_after: bool = False
    unstable_use_state_after: bool = field(default=False, name="org.matrix.msc4222.use_state_after")


class SyncRoutes:
    """`GET /sync`."""

    def __init__(self, sync: Sync, filters: Filters, presence: Presence) -> None:
        self._sync = sync
        self._filters = filters
        self._presence = presence

    @endpoint(
        "GET",
        CLIENT_V3 / "sync",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        guests=True,
        while_locked=False,
        spec="client-server-api/#get_matrixclientv3sync",
    )
    async def get_sync(self, requester: Requester, query: SyncQuery) -> JsonBytes:
        """Synchronise the client's state and receive new messages."""
        if query.timeout < 0:
            raise InvalidParam("timeout must not be negative")
        since = _token(query.since or None)
        chosen = await self._filters.compiled(requester.user_id, query.filter or None)
        request = SyncRequest(
            requester=requester,
            filter=chosen,
            since=None if since is None else since.position,
            typing_told={} if since is None else dict(since.typing),
            to_device_since=None if since is None else since.to_device,
            full_state=query.full_state,
            state_key=_state_key(query),
            timeout_ms=query.timeout,
        )
        with self._presence.connected(requester, query.set_presence):
            return JsonBytes(await self._sync.answer(request))


def _token(since: str | None) -> SyncToken | None:
    if since is None:
        return None
    try:
        return parse_sync_token(since)
    except InvalidToken as error:
        raise InvalidParam("Unknown since token") from error


def _state_key(query: SyncQuery) -> StateKeyName:
    if query.use_state_after:
        return "state_after"
    if query.unstable_use_state_after:
        return "org.matrix.msc4222.state_after"
    return "state"
