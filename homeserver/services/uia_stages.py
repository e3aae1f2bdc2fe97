"""The stages of user-interactive authentication, one class each.

Spec: client-server-api/#authentication-types
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from homeserver.config.sections.registration import Policy
from homeserver.errors import Forbidden
from homeserver.protocol import uia
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.login_identifiers import parse_identifier
from homeserver.services.password_check import PasswordCheck
from homeserver.services.registration_tokens import RegistrationTokens
from homeserver.storage.database import Transaction


class StageAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody brings to pass a stage."""

    # Who has to prove it; None: nobody is logged in.
    user_id: UserID | None
    # The members of `auth`, or of the form of a fallback page.
    members: JsonObject
    ip: str
    # What is to be authorized: `Operation.name` of `services.uia`.
    operation: str = ""


class StageFailed(Exception):
    """A stage was not passed, and may be tried again."""

    def __init__(self, errcode: str, error: str) -> None:
        super().__init__(f"{errcode}: {error}")
        self.errcode = errcode
        self.error = error


class Stage(ABC):
    """Base of all stages."""

    name: ClassVar[str]

    def params(self) -> JsonObject | None:
        """Return what clients need to know to pass the stage."""
        return None

    @abstractmethod
    async def verify(self, attempt: StageAttempt) -> str:
        """Return what the attempt proves, "" if there is nothing to remember.

        Raises StageFailed: try again; any MatrixError: the request is refused altogether.
        """

    async def prepare(self, attempt: StageAttempt) -> Mapping[str, str]:
        """Do what the first form of a fallback page asks for; return what its next one carries.

        Nothing to prepare: nothing is carried. Raises StageFailed: try again.
        """
        return {}

    async def claim(  # noqa: B027 - most proofs use nothing up
        self, tx: Transaction, proof: str
    ) -> None:
        """Reserve what the proof uses up, with the record that the stage is passed.

        Raises StageFailed: it is used up.
        """


class DummyStage(Stage):
    """Always passed. Spec: client-server-api/#dummy-auth"""

    name = uia.DUMMY

    async def verify(self, attempt: StageAttempt) -> str:
        """Nothing is asked for, and nothing proven."""
        return ""


class PasswordStage(Stage):
    """The password of the user who is logged in. Spec: client-server-api/#password-based"""

    name = uia.PASSWORD

    def __init__(self, passwords: PasswordCheck) -> None:
        self._passwords = passwords

    async def verify(self, attempt: StageAttempt) -> str:
        """Raises Forbidden: it is another user's; StageFailed: it is wrong."""
        password = attempt.members.get("password")
        if attempt.user_id is None or not isinstance(password, str):
            raise StageFailed("M_MISSING_PARAM", "password must be given as text")
        identifier = parse_identifier(attempt.members)
        # Whose password is wanted is known, so a client need not say it.
        if identifier is not None:
            meant = await self._passwords.meant_users(identifier)
            if attempt.user_id not in meant:
                raise Forbidden("You are logged in as another user")
        if not await self._passwords.is_right(attempt.user_id, password):
            raise StageFailed("M_FORBIDDEN", "Invalid password")
        return ""


class RegistrationTokenStage(Stage):
    """A token of those who may register.

    Spec: client-server-api/#token-authenticated-registration
    """

    name = uia.REGISTRATION_TOKEN

    def __init__(self, tokens: RegistrationTokens) -> None:
        self._tokens = tokens

    async def verify(self, attempt: StageAttempt) -> str:
        """Return the token. Raises StageFailed: it is not valid."""
        token = attempt.members.get("token")
        if not isinstance(token, str):
            raise StageFailed("M_MISSING_PARAM", "token must be given as text")
        if not await self._tokens.is_valid(token):
            raise StageFailed("M_UNAUTHORIZED", "Invalid registration token")
        return token

    async def claim(self, tx: Transaction, proof: str) -> None:
        """Keep one use of the token for the session."""
        if not await self._tokens.claim(tx, proof):
            raise StageFailed("M_UNAUTHORIZED", "Invalid registration token")


class TermsStage(Stage):
    """Policies to accept. Spec: client-server-api/#terms-of-service-at-registration"""

    name = uia.TERMS

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies

    def params(self) -> JsonObject:
        """Return the policies in all their languages."""
        return {
            "policies": {
                policy.id: {
                    "version": policy.version,
                    **{
                        language: {"name": text.name, "url": text.url}
                        for language, text in policy.languages.items()
                    },
                }
                for policy in self._policies
            }
        }

    async def verify(self, attempt: StageAttempt) -> str:
        """Return which versions were presented, and so accepted."""
        return msgspec.json.encode([(one.id, one.version) for one in self._policies]).decode()


def accepted_versions(proof: str | None) -> list[tuple[str, str]]:
    """Read what a TermsStage has proven, as (policy ID, version); nothing from None."""
    return msgspec.json.decode(proof, type=list[tuple[str, str]]) if proof is not None else []
