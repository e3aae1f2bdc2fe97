"""Registration with the shared secret, for operators' tools.

Not in the specification; the path and the form are those that existing tools use.
"""

import msgspec

from client_api.session_answers import SessionAnswer, session_answer
from homeserver.services.shared_secret import SharedSecretForm, SharedSecretRegistration
from homeserver.web.endpoint import Auth, endpoint


class NonceAnswer(msgspec.Struct, frozen=True):
    """A nonce for one registration."""

    nonce: str


class SharedSecretRoutes:
    """`/_synapse/admin/v1/register`. No rate limit: nobody guesses a MAC, and rigs hurry."""

    def __init__(self, registration: SharedSecretRegistration) -> None:
        self._registration = registration

    @endpoint(
        "GET",
        "/_synapse/admin/v1/register",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#shared-secret-registration",
    )
    async def get_nonce(self) -> NonceAnswer:
        """Get a nonce for a registration with the shared secret."""
        return NonceAnswer(self._registration.nonce())

    @endpoint(
        "POST",
        "/_synapse/admin/v1/register",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#shared-secret-registration",
    )
    async def register(self, body: SharedSecretForm) -> SessionAnswer:
        """Register a user, with a MAC that proves knowledge of the shared secret."""
        return session_answer(await self._registration.register(body))
