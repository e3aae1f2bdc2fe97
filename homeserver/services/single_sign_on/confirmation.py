"""Confirming operations through providers.

Spec: client-server-api/#sso-during-user-interactive-authentication
"""

from collections.abc import Mapping, Sequence

from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol import uia as stages
from homeserver.protocol.identifiers import UserID
from homeserver.services.single_sign_on.external_accounts import ExternalAccounts
from homeserver.services.single_sign_on.flows import Asking, Confirm, SignInFlows
from homeserver.services.single_sign_on.provider import SignInFailed
from homeserver.services.single_sign_on.providers import KnownProvider, Providers
from homeserver.services.single_sign_on.sign_in_pages import SignInPages
from homeserver.services.single_sign_on.visits import OVER, Arrival, Visits
from homeserver.services.uia import Uia
from homeserver.services.uia_pages import UiaPages
from homeserver.services.uia_stages import StageFailed
from homeserver.storage import external_identities
from homeserver.storage.database import Database
from homeserver.web.answers import Page, Redirect

_NO_WAY = "Your account cannot be proven by any login provider"


class SsoConfirmation:
    """The fallback page of `m.login.sso`: it says what is confirmed, before the provider asks."""

    def __init__(
        self,
        providers: Providers,
        flows: SignInFlows,
        visits: Visits,
        accounts: ExternalAccounts,
        database: Database,
        uia: Uia,
        uia_pages: UiaPages,
        pages: SignInPages,
    ) -> None:
        self._providers = providers
        self._flows = flows
        self._visits = visits
        self._accounts = accounts
        self._database = database
        self._uia = uia
        self._uia_pages = uia_pages
        self._pages = pages

    async def show(self, uia_session: str) -> Page:
        """Return the page of the stage, or what stands in its way."""
        try:
            if not await self._uia.is_pending(uia_session, stages.SSO):
                return self._uia_pages.done()
            operation = await self._uia.operation_of(uia_session)
            if operation is None or operation.user_id is None:
                raise Forbidden(_NO_WAY)
            providers = await self._providers_of(operation.user_id)
            if not providers:
                raise Forbidden(_NO_WAY)
        except MatrixError as refusal:
            return self._uia_pages.refused(refusal)
        key = self._flows.new_key()
        await self._flows.put(key, Asking(uia_session=uia_session))
        return self._pages.operation(key, operation.name, uia_session, providers)

    async def begin(self, fields: Mapping[str, str], cookies: str) -> Page | Redirect:
        """Send a browser to the provider that was chosen on the page, and only there."""
        key = self._flows.key_of(fields.get("flow", ""), cookies)
        asking = await self._flows.take(key, Asking) if key is not None else None
        if key is None or asking is None:
            return self._pages.failed(SignInFailed(OVER))
        try:
            known = self._providers.get(fields.get("provider", ""))
            if known is None:
                raise SignInFailed("There is no such login provider here", status=404)
            return await self._visits.send(known, Confirm(asking.uia_session), key)
        except SignInFailed as failure:
            return self._pages.failed(failure, key.flow_id)

    async def complete(self, arrival: Arrival, purpose: Confirm) -> Page:
        """Complete the stage for a user who has come back. Raises SignInFailed."""
        provider_id, subject = arrival.known.id, arrival.identity.subject
        user_id = await self._accounts.find(provider_id, subject)
        if user_id is None:
            raise SignInFailed("You have logged in as another user")
        try:
            await self._uia.complete_apart(purpose.uia_session, stages.SSO, user_id, provider_id)
        except StageFailed as failure:
            raise SignInFailed(failure.error) from failure
        except MatrixError as refusal:
            raise SignInFailed(refusal.error) from refusal
        return self._pages.without_flow(self._uia_pages.done(), arrival.key.flow_id)

    async def _providers_of(self, user_id: UserID) -> Sequence[KnownProvider]:
        async with self._database.connection("providers_of_user") as connection:
            linked = await external_identities.providers_of(connection, user_id)
        return [known for known in self._providers if known.id in linked]
