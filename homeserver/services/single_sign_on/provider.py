"""What every provider of identities can do."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from homeserver.config.sections.single_sign_on import Provider
from homeserver.web.params import Query

# What a provider tells of a user, by name.
Claims: TypeAlias = Mapping[str, Any]
# OpenID Connect: "MUST NOT exceed 255 ASCII characters in length".
_MAX_SUBJECT: int = 255


class SignInFailed(Exception):
    """A login cannot go on; `text` is for the user."""

    def __init__(self, text: str, *, status: int = 403, reason: str = "") -> None:
        """`reason` is for the log."""
        super().__init__(reason or text)
        self.text = text
        self.status = status
        self.reason = reason or text


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What binds the answer of a provider to the question; all of it random."""

    # Comes back in the address.
    state: str
    # Comes back inside the token.
    nonce: str
    # Never leaves this server before it is shown to the provider.
    code_verifier: str
    # The user is to prove it anew, even if the provider remembers.
    is_fresh_proof: bool = False


class CallbackQuery(Query, frozen=True):
    """What a provider sends back with the browser."""

    state: str = ""
    # OpenID Connect
    code: str | None = None
    error: str | None = None
    error_description: str | None = None
    # RFC 9207
    iss: str | None = None
    # CAS
    ticket: str | None = None


class ProvenIdentity(msgspec.Struct, frozen=True):
    """Who somebody is at a provider."""

    subject: str
    claims: Claims


class IdentityProvider(Protocol):
    """A system that knows who somebody is."""

    @property
    def settings(self) -> Provider:
        """How it is configured."""
        ...

    async def address_of_login(self, challenge: Challenge) -> str:
        """Return where to send the browser. Raises SignInFailed."""
        ...

    async def identify(self, query: CallbackQuery, challenge: Challenge) -> ProvenIdentity:
        """Return who has come back. Raises SignInFailed."""
        ...


def subject_of(value: object) -> str:
    """Check what identifies a user. Raises SignInFailed: it can be nothing of the sort."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise SignInFailed("The provider did not say who you are", reason="no subject")
    if len(value) > _MAX_SUBJECT:
        raise SignInFailed("The provider did not say who you are", reason="long subject")
    return value
