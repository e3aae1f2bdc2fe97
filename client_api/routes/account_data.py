"""Account data. Spec: client-server-api/#client-config"""

from typing import Final

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.services.account_data import MAX_CONTENT_BYTES, AccountData
from homeserver.web.answers import Empty, JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params, RawBody
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester

# Bodies may have white space and escapes that the content does not keep.
_MAX_BODY_BYTES: Final = 2 * MAX_CONTENT_BYTES


class AccountDataPath(Params, frozen=True):
    """Whose account data, and what of it."""

    user_id: UserID
    type: str


class RoomAccountDataPath(Params, frozen=True):
    """Whose account data about which room, and what of it."""

    user_id: UserID
    room_id: RoomID
    type: str


class AccountDataRoutes:
    """`/user/{userId}/account_data` and the same of rooms."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    @endpoint(
        "PUT",
        CLIENT_V3 / "user/{user_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="client-server-api/#put_matrixclientv3useruseridaccount_datatype",
    )
    async def put_account_data(
        self, requester: Requester, path: AccountDataPath, body: RawBody
    ) -> Empty:
        """Set some account data for the user."""
        check_is_own(requester, path.user_id)
        await self._account_data.put(path.user_id, path.type, body.content)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "user/{user_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3useruseridaccount_datatype",
    )
    async def get_account_data(self, requester: Requester, path: AccountDataPath) -> JsonBytes:
        """Get some account data for the user."""
        check_is_own(requester, path.user_id)
        return JsonBytes(await self._account_data.content(path.user_id, path.type))

    @endpoint(
        "DELETE",
        CLIENT_UNSTABLE / "org.matrix.msc3391/user/{user_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="MSC3391",
    )
    async def delete_account_data(self, requester: Requester, path: AccountDataPath) -> Empty:
        """Delete some account data of the user."""
        check_is_own(requester, path.user_id)
        await self._account_data.delete(path.user_id, path.type)
        return Empty()

    @endpoint(
        "PUT",
        CLIENT_V3 / "user/{user_id}/rooms/{room_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype",
    )
    async def put_room_account_data(
        self, requester: Requester, path: RoomAccountDataPath, body: RawBody
    ) -> Empty:
        """Set some account data for the user that is specific to a room."""
        check_is_own(requester, path.user_id)
        await self._account_data.put(path.user_id, path.type, body.content, room_id=path.room_id)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "user/{user_id}/rooms/{room_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype",
    )
    async def get_room_account_data(
        self, requester: Requester, path: RoomAccountDataPath
    ) -> JsonBytes:
        """Get some account data for the user that is specific to a room."""
        check_is_own(requester, path.user_id)
        content = await self._account_data.content(path.user_id, path.type, room_id=path.room_id)
        return JsonBytes(content)

    @endpoint(
        "DELETE",
        CLIENT_UNSTABLE / "org.matrix.msc3391/user/{user_id}/rooms/{room_id}/account_data/{type}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="MSC3391",
    )
    async def delete_room_account_data(
        self, requester: Requester, path: RoomAccountDataPath
    ) -> Empty:
        """Delete some account data of the user that is specific to a room."""
        check_is_own(requester, path.user_id)
        await self._account_data.delete(path.user_id, path.type, room_id=path.room_id)
        return Empty()


def check_is_own(requester: Requester, user_id: UserID) -> None:
    """Raises Forbidden: users see and change their own account data only."""
    if requester.user_id != user_id:
        raise Forbidden("This is the account data of somebody else")
