"""Keys of devices. Spec: client-server-api/#key-management-api"""

from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

from homeserver.errors import InvalidParam
from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.sync_token import parse_sync_token
from homeserver.services.device_keys import DeviceKeyUploads, KeysForm
from homeserver.services.device_lists import DeviceLists
from homeserver.services.key_queries import KeyQueries
from homeserver.services.one_time_keys import OneTimeKeys
from homeserver.services.remote_answers import DEFAULT_TIMEOUT_MS
from homeserver.streams.log_reader import LogReader
from homeserver.streams.tail import Tail
from homeserver.web.answers import JsonBytes
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# A hundred one-time keys and their like have some 40 kB; those of a large room's devices more.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class UploadKeysBody(Body, frozen=True):
    """The keys; checked by hand, because their signatures cover members that are unknown here."""

    device_keys: JsonValue = UNSET
    one_time_keys: JsonValue = UNSET
    fallback_keys: JsonValue = UNSET
    # COMPAT(clients before v1.2): the name that fallback keys had as a proposal.
    unstable_fallback_keys: JsonValue = field(
        default=UNSET, name="org.matrix.msc2732.fallback_keys"
    )


class UploadKeysAnswer(Struct, frozen=True):
    """How many keys there are now."""

    one_time_key_counts: dict[str, int]


class QueryKeysBody(Body, frozen=True):
    """Whose devices; no device named: all of the user's."""

    device_keys: dict[UserID, list[DeviceID]]
    timeout: int | None = None


class ClaimKeysBody(Body, frozen=True):
    """One key of which algorithm for each device."""

    one_time_keys: dict[UserID, dict[DeviceID, str]]
    timeout: int | None = None


class KeyChangesQuery(Query, frozen=True):
    """Two tokens of /sync."""

    since: str = field(name="from")
    to: str | UnsetType = UNSET


class KeyChangesAnswer(Struct, frozen=True):
    """Users to ask for again, and users to forget."""

    changed: list[UserID]
    left: list[UserID]


class KeyRoutes:
    """`/keys/upload`, `/keys/query`, `/keys/claim`, `/keys/changes`."""

    def __init__(
        self,
        uploads: DeviceKeyUploads,
        queries: KeyQueries,
        one_time_keys: OneTimeKeys,
        device_lists: DeviceLists,
        tail: Tail,
        reader: LogReader,
    ) -> None:
        self._uploads = uploads
        self._queries = queries
        self._one_time_keys = one_time_keys
        self._device_lists = device_lists
        self._tail = tail
        self._reader = reader

    @endpoint(
        "POST",
        CLIENT_V3 / "keys/upload",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=MAX_BODY_BYTES,
        guests=True,
        spec="client-server-api/#post_matrixclientv3keysupload",
    )
    async def post_keys_upload(
        self, requester: Requester, body: UploadKeysBody
    ) -> UploadKeysAnswer:
        """Publish end-to-end encryption keys for the device."""
        fallback = body.fallback_keys
        if fallback is UNSET:
            fallback = body.unstable_fallback_keys
        form = KeysForm(body.device_keys, body.one_time_keys, fallback)
        counts = await self._uploads.upload(requester.user_id, requester.device_id, form)
        return UploadKeysAnswer(counts)

    @endpoint(
        "POST",
        CLIENT_V3 / "keys/query",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=MAX_BODY_BYTES,
        guests=True,
        spec="client-server-api/#post_matrixclientv3keysquery",
    )
    async def post_keys_query(self, requester: Requester, body: QueryKeysBody) -> JsonBytes:
        """Return the current devices and identity keys for the given users."""
        timeout_ms = _timeout_ms(body.timeout)
        user_id = requester.user_id
        return JsonBytes(await self._queries.query(user_id, body.device_keys, timeout_ms))

    @endpoint(
        "POST",
        CLIENT_V3 / "keys/claim",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=MAX_BODY_BYTES,
        guests=True,
        spec="client-server-api/#post_matrixclientv3keysclaim",
    )
    async def post_keys_claim(
        self,
        requester: Requester,
        body: ClaimKeysBody,
    ) -> dict[str, JsonObject]:
        """Claim one-time keys for use in pre-key messages."""
        return await self._one_time_keys.claim(body.one_time_keys, _timeout_ms(body.timeout))

    @endpoint(
        "GET",
        CLIENT_V3 / "keys/changes",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        guests=True,
        spec="client-server-api/#get_matrixclientv3keyschanges",
    )
    async def get_keys_changes(
        self, requester: Requester, query: KeyChangesQuery
    ) -> KeyChangesAnswer:
        """Get a list of users who have updated their device identity keys."""
        then = await self._position(query.since)
        # "This may be used by the server as a hint to check its caches are up to date."
        now = self._tail.position if query.to is UNSET else await self._position(query.to)
        changes = await self._device_lists.between(requester.user_id, then, max(then, now))
        return KeyChangesAnswer(sorted(changes.changed), sorted(changes.left))

    async def _position(self, text: str) -> int:
        try:
            position = parse_sync_token(text).position
        except InvalidToken as error:
            raise InvalidParam("Unknown token") from error
        if position > self._tail.position:
            if position > await self._reader.head():
                raise InvalidParam("Unknown token")
            await self._tail.reach(position)
        return position


def _timeout_ms(timeout: int | None) -> int:
    if timeout is not None and timeout < 0:
        raise InvalidParam("timeout must not be negative")
    return DEFAULT_TIMEOUT_MS if timeout is None else timeout
