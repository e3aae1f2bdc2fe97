"""Asking users who are logged in to prove it again.

Spec: client-server-api/#user-interactive-authentication-api
"""

from collections.abc import Iterable
from typing import Final

from homeserver.errors import Forbidden
from homeserver.protocol import uia as stages
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.uia import Flows
from homeserver.services.uia import CompletedSession, Operation, Uia, UiaRequest
from homeserver.storage import accounts, external_identities
from homeserver.storage.database import Database
from homeserver.web.requester import Requester

_BY_PASSWORD: Final = (stages.PASSWORD,)
_BY_SSO: Final = (stages.SSO,)


class Reauthentication:
    """Confirms that a request comes from the user and not from whoever has a token."""

    def __init__(self, uia: Uia, database: Database, provider_ids: Iterable[str] = ()) -> None:
        """`provider_ids`: the identity providers at which users can prove it too."""
        self._uia = uia
        self._database = database
        self._provider_ids: Final = frozenset(provider_ids)

    async def flows_of(self, user_id: UserID) -> Flows:
        """Return how a user can prove who it is; no flows: in no way."""
        flows: list[tuple[str, ...]] = [_BY_PASSWORD] if await self._has_password(user_id) else []
        if self._provider_ids:
            async with self._database.connection("reauthentication") as connection:
                linked = await external_identities.providers_of(connection, user_id)
            if self._provider_ids.intersection(linked):
                flows.append(_BY_SSO)
        return tuple(flows)

    async def confirm(
        self,
        requester: Requester,
        operation: str,
        request: UiaRequest,
        *,
        is_single_use: bool = False,
    ) -> CompletedSession:
        """Return when the user has confirmed an operation, named as in `uia.Operation`.

        Raises UiaRequired; Forbidden: the user has no way to confirm it.
        """
        flows = await self.flows_of(requester.user_id)
        if not flows:
            raise Forbidden("This account has no way to confirm this")
        wanted = Operation(name=operation, user_id=requester.user_id, is_single_use=is_single_use)
        return await self._uia.require(wanted, flows, request)

    async def change_password_capability(self, requester: Requester) -> JsonObject:
        """Tell a user whether there is a password to change.

        Spec: client-server-api/#mchange_password-capability
        """
        return {"enabled": await self._has_password(requester.user_id)}

    async def _has_password(self, user_id: UserID) -> bool:
        async with self._database.connection("reauthentication") as connection:
            account = await accounts.account_of(connection, user_id)
        return account is not None and account.password_hash is not None
