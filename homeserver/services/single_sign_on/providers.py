"""The providers of identities that are configured."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from homeserver.errors import MatrixError
from homeserver.protocol import uia
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.login import LoginForm
from homeserver.services.single_sign_on.attributes import AttributeMapping
from homeserver.services.single_sign_on.provider import IdentityProvider
from homeserver.services.uia_stages import Stage, StageAttempt, StageFailed

_IN_BROWSER: Final = "This is done in a browser"


class KnownProvider(msgspec.Struct, frozen=True):
    """A provider, and what its claims mean here."""

    provider: IdentityProvider
    mapping: AttributeMapping

    @property
    def id(self) -> str:
        """The name that never changes."""
        return self.provider.settings.id

    @property
    def name(self) -> str:
        """The name that users see."""
        return self.provider.settings.name


class Providers:
    """All providers, in the order in which users see them."""

    def __init__(self, known: Iterable[IdentityProvider]) -> None:
        self._by_id: Final = {
            each.settings.id: KnownProvider(each, AttributeMapping(each.settings)) for each in known
        }

    def __iter__(self) -> Iterator[KnownProvider]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, provider_id: str) -> KnownProvider | None:
        """Return one provider."""
        return self._by_id.get(provider_id)


class SsoLogin:
    """The login type of single sign-on. Spec: client-server-api/#client-login-via-sso"""

    type: Final = uia.SSO

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def flow(self) -> JsonObject:
        """Return the flow with its providers."""
        return {"type": self.type, "identity_providers": [_told(each) for each in self._providers]}

    async def authenticate(self, form: LoginForm) -> UserID:
        """Refuse: what comes of this login is a token, to log in with `m.login.token`."""
        raise MatrixError(400, "M_UNKNOWN", _IN_BROWSER)


class SsoStage(Stage):
    """Another login at a provider. Spec:
    client-server-api/#sso-during-user-interactive-authentication
    """

    name = uia.SSO

    async def verify(self, attempt: StageAttempt) -> str:
        """Refuse: the stage is passed on its page alone."""
        raise StageFailed("M_UNAUTHORIZED", _IN_BROWSER)


def _told(known: KnownProvider) -> JsonObject:
    settings = known.provider.settings
    told: JsonObject = {"id": settings.id, "name": settings.name}
    if settings.icon is not None:
        told["icon"] = settings.icon
    if settings.brand is not None:
        told["brand"] = settings.brand
    return told
