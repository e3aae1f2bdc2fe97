"""Sending browsers to providers, and receiving them."""

import secrets

import msgspec

from homeserver.services.single_sign_on.flows import (
    AtProvider,
    FlowKey,
    LogIn,
    Purpose,
    SignInFlows,
)
from homeserver.services.single_sign_on.provider import (
    CallbackQuery,
    Challenge,
    ProvenIdentity,
    SignInFailed,
)
from homeserver.services.single_sign_on.providers import KnownProvider, Providers
from homeserver.web.answers import Redirect

_SECRET_BYTES = 32
OVER = "This login has taken too long, or was begun in another browser"


class Arrival(msgspec.Struct, frozen=True):
    """Somebody who has come back from a provider."""

    key: FlowKey
    known: KnownProvider
    purpose: Purpose
    identity: ProvenIdentity


class Visits:
    """Every visit belongs to one browser and ends once."""

    def __init__(self, providers: Providers, flows: SignInFlows) -> None:
        self._providers = providers
        self._flows = flows

    async def send(self, known: KnownProvider, purpose: Purpose, key: FlowKey) -> Redirect:
        """Send a browser to a provider. Raises SignInFailed: the provider is away."""
        challenge = Challenge(
            state=key.flow_id,
            nonce=secrets.token_urlsafe(_SECRET_BYTES),
            code_verifier=secrets.token_urlsafe(_SECRET_BYTES),
            is_fresh_proof=not isinstance(purpose, LogIn),
        )
        address = await known.provider.address_of_login(challenge)
        step = AtProvider(provider_id=known.id, challenge=challenge, purpose=purpose)
        await self._flows.put(key, step)
        headers = {
            "Set-Cookie": self._flows.cookie(key),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return Redirect(address, headers=headers)

    async def receive(self, query: CallbackQuery, cookies: str) -> Arrival:
        """Return who has come back from where. Raises SignInFailed."""
        key = self._flows.key_of(query.state, cookies)
        step = await self._flows.take(key, AtProvider) if key is not None else None
        if key is None or step is None:
            raise SignInFailed(OVER)
        known = self._providers.get(step.provider_id)
        if known is None:
            raise SignInFailed("This provider is no longer there", status=404)
        identity = await known.provider.identify(query, step.challenge)
        known.mapping.check(identity.claims)
        return Arrival(key, known, step.purpose, identity)
