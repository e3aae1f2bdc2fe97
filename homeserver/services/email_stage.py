"""The stage m.login.email.identity. Spec: client-server-api/#email-based-identity--homeserver"""

import secrets
from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.protocol import uia
from homeserver.services.uia_stages import Stage, StageAttempt, StageFailed
from homeserver.services.validation_sessions import (
    EmailTokenForm,
    Purpose,
    Validated,
    ValidationSessions,
)
from homeserver.storage.database import Transaction

REGISTER: Final = "register"
RESET_PASSWORD: Final = "reset password"  # noqa: S105 - the name of an operation
# What an address has to be verified for, by the operation that the stage authorizes.
_PURPOSES: Final = {REGISTER: Purpose.REGISTER, RESET_PASSWORD: Purpose.RESET_PASSWORD}


class EmailIdentityStage(Stage):
    """An address that was verified for the operation at hand."""

    name = uia.EMAIL_IDENTITY

    def __init__(self, validations: ValidationSessions) -> None:
        self._validations = validations

    async def verify(self, attempt: StageAttempt) -> str:
        """Return the address. Raises StageFailed: it is not verified, or not yet."""
        purpose = _PURPOSES.get(attempt.operation)
        # COMPAT(clients of r0.3): `threepidCreds`, sent beside the newer name by some.
        given = attempt.members.get("threepid_creds", attempt.members.get("threepidCreds"))
        # The form of the fallback page has them as fields.
        credentials = given if isinstance(given, dict) else attempt.members
        sid, secret = credentials.get("sid"), credentials.get("client_secret")
        if purpose is None or not isinstance(sid, str) or not isinstance(secret, str):
            raise StageFailed("M_MISSING_PARAM", "threepid_creds needs sid and client_secret")
        if "\0" in sid:
            raise StageFailed("M_INVALID_PARAM", "sid has a character that none has")
        validated = await self._validations.validated(sid, secret, purpose)
        if validated is None:
            # Clients ask again and again until the link is opened, and show any other code.
            raise StageFailed("M_UNAUTHORIZED", "The e-mail address has not been verified yet")
        return msgspec.json.encode(validated).decode()

    async def prepare(self, attempt: StageAttempt) -> Mapping[str, str]:
        """Send a mail to an address that was given on the fallback page."""
        email, purpose = attempt.members.get("email"), _PURPOSES.get(attempt.operation)
        if not isinstance(email, str) or purpose is None:
            return {}
        client_secret = secrets.token_urlsafe(32)
        form = EmailTokenForm(client_secret=client_secret, email=email, send_attempt=1)
        try:
            sid = await self._validations.begin(form, purpose)
        except LimitExceeded:
            raise
        except MatrixError as refusal:
            raise StageFailed(refusal.errcode, refusal.error) from refusal
        return {"sid": sid, "client_secret": client_secret}

    async def claim(self, tx: Transaction, proof: str) -> None:
        """Use the verification up."""
        if not await self._validations.take(tx, _validated(proof)):
            raise StageFailed("M_UNAUTHORIZED", "The e-mail address must be verified again")


def proven_address(proofs: Mapping[str, str]) -> Validated | None:
    """Return the address among what the stages of a session have proven."""
    proof = proofs.get(uia.EMAIL_IDENTITY)
    return None if proof is None else _validated(proof)


def _validated(proof: str) -> Validated:
    return msgspec.json.decode(proof, type=Validated)
