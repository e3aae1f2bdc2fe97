"""Logging clients in through providers. Spec: client-server-api/#client-login-via-sso"""

from collections.abc import Mapping

import msgspec

from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import UserID
from homeserver.services.login_tokens import LoginTokens
from homeserver.services.single_sign_on.client_urls import ClientUrls, with_login_token
from homeserver.services.single_sign_on.confirmation import SsoConfirmation
from homeserver.services.single_sign_on.external_accounts import ExternalAccounts
from homeserver.services.single_sign_on.flows import Arrived, FlowKey, LogIn, SignInFlows
from homeserver.services.single_sign_on.provider import CallbackQuery, SignInFailed
from homeserver.services.single_sign_on.providers import Providers
from homeserver.services.single_sign_on.sign_in_pages import SignInPages
from homeserver.services.single_sign_on.visits import OVER, Arrival, Visits
from homeserver.web.answers import Page, Redirect


class SignIn:
    """Leads a browser from a client to a provider and back with a login token."""

    def __init__(
        self,
        providers: Providers,
        flows: SignInFlows,
        visits: Visits,
        urls: ClientUrls,
        accounts: ExternalAccounts,
        tokens: LoginTokens,
        pages: SignInPages,
        confirmation: SsoConfirmation,
    ) -> None:
        self._providers = providers
        self._flows = flows
        self._visits = visits
        self._urls = urls
        self._accounts = accounts
        self._tokens = tokens
        self._pages = pages
        self._confirmation = confirmation

    async def begin(self, redirect_url: str, provider_id: str | None) -> Page | Redirect:
        """Send a browser to a provider, or let the user choose one. Raises InvalidParam."""
        redirect_url = self._urls.check(redirect_url)
        if provider_id is None and len(self._providers) > 1:
            return self._pages.choice(self._providers, redirect_url)
        known = next(iter(self._providers), None)
        if provider_id is not None:
            known = self._providers.get(provider_id)
        try:
            if known is None:
                raise SignInFailed("There is no such login provider here", status=404)
            return await self._visits.send(known, LogIn(redirect_url), self._flows.new_key())
        except SignInFailed as failure:
            return self._pages.failed(failure)

    async def receive(self, query: CallbackQuery, cookies: str) -> Page | Redirect:
        """Go on with a browser that comes from a provider."""
        try:
            arrival = await self._visits.receive(query, cookies)
            if not isinstance(arrival.purpose, LogIn):
                return await self._confirmation.complete(arrival, arrival.purpose)
            return await self._arrived(arrival, arrival.purpose.redirect_url)
        except SignInFailed as failure:
            key = self._flows.key_of(query.state, cookies)
            return self._pages.failed(failure, key.flow_id if key is not None else None)

    async def go_on(self, fields: Mapping[str, str], cookies: str) -> Page | Redirect:
        """Take the form of a page that has asked the user."""
        key = self._flows.key_of(fields.get("flow", ""), cookies)
        arrived = await self._flows.read(key, Arrived) if key is not None else None
        if key is None or arrived is None:
            return self._pages.failed(SignInFailed(OVER))
        try:
            user_id = arrived.user_id or await self._new_user(arrived, fields)
            if await self._flows.take(key, Arrived) is None:
                raise SignInFailed(OVER)
        except MatrixError as refusal:
            return self._ask_new_user(key, arrived, fields.get("username", ""), refusal.error)
        except SignInFailed as failure:
            return self._pages.failed(failure, key.flow_id)
        return await self._back_to_client(key, user_id, arrived.redirect_url)

    async def _arrived(self, arrival: Arrival, redirect_url: str) -> Page | Redirect:
        arrived = await self._known_or_new(arrival, redirect_url)
        key, is_trusted = arrival.key, self._urls.is_trusted(redirect_url)
        if arrived.user_id is None and not arrived.may_choose and not self._accounts.policies:
            arrived = await self._with_account(arrived)
        if arrived.user_id is not None and is_trusted:
            return await self._back_to_client(key, arrived.user_id, redirect_url)
        await self._flows.put(key, arrived)
        if arrived.user_id is not None:
            return self._pages.client(key, arrived)
        return self._ask_new_user(key, arrived)

    async def _known_or_new(self, arrival: Arrival, redirect_url: str) -> Arrived:
        settings, identity = arrival.known.provider.settings, arrival.identity
        attributes = arrival.known.mapping.of(identity.claims)
        user_id = await self._accounts.find(settings.id, identity.subject)
        if user_id is None and settings.allow_existing_users and attributes.localpart is not None:
            await self._accounts.take_over(settings.id, identity.subject, attributes.localpart)
            user_id = await self._accounts.find(settings.id, identity.subject)
        if user_id is None and not settings.registration_enabled:
            raise SignInFailed("You have no account here, and cannot get one this way")
        is_suggested = attributes.localpart is not None and await self._accounts.is_free(
            attributes.localpart
        )
        return Arrived(
            provider_id=settings.id,
            subject=identity.subject,
            redirect_url=redirect_url,
            user_id=user_id,
            attributes=attributes,
            may_choose=settings.asks_username or not is_suggested,
        )

    async def _with_account(self, arrived: Arrived) -> Arrived:
        """Make the account with what the provider suggests, or let the user choose after all."""
        try:
            user_id = await self._new_user(arrived, {})
        except MatrixError:
            return msgspec.structs.replace(arrived, may_choose=True)
        return msgspec.structs.replace(arrived, user_id=user_id)

    async def _new_user(self, arrived: Arrived, fields: Mapping[str, str]) -> UserID:
        """Make the account that a user has asked for, once. Raises MatrixError, SignInFailed."""
        provider_id, subject = arrived.provider_id, arrived.subject
        user_id = await self._accounts.find(provider_id, subject)
        if user_id is not None:
            return user_id
        known = self._providers.get(provider_id)
        if known is None or not known.provider.settings.registration_enabled:
            raise SignInFailed("You have no account here, and cannot get one this way")
        localpart = arrived.attributes.localpart or ""
        if arrived.may_choose:
            localpart = fields.get("username", "").strip()
        return await self._accounts.create(provider_id, subject, localpart, arrived.attributes)

    def _ask_new_user(
        self, key: FlowKey, arrived: Arrived, username: str = "", error: str = ""
    ) -> Page:
        return self._pages.new_account(
            key,
            arrived,
            self._accounts.policies,
            is_client_trusted=self._urls.is_trusted(arrived.redirect_url),
            username=username,
            error=error,
        )

    async def _back_to_client(self, key: FlowKey, user_id: UserID, redirect_url: str) -> Redirect:
        token = await self._tokens.issue(user_id)
        headers = {
            "Set-Cookie": self._flows.cleared_cookie(key.flow_id),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return Redirect(with_login_token(redirect_url, token), headers=headers)
