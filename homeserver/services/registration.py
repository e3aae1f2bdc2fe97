"""Registering accounts. Spec: client-server-api/#legacy-account-registration"""

from typing import Final

import msgspec

from homeserver.errors import MissingParam
from homeserver.protocol.identifiers import DeviceID, UserID, parse_device_id
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_making import AccountMaking, NewUser
from homeserver.services.guests import Guests
from homeserver.services.passwords import Passwords
from homeserver.services.registration_policy import RegistrationPolicy
from homeserver.services.sessions import (
    OpenedSession,
    Sessions,
    WantedSession,
    new_device_id,
)
from homeserver.services.uia import (
    CompletedSession,
    Operation,
    Uia,
    UiaRequest,
    body_without_auth,
)
from homeserver.services.user_names import UserNames
from homeserver.web.params import Body, RequestFacts

_OPERATION: Final = Operation(name="register", user_id=None)


class RegistrationForm(Body, frozen=True):
    """What a client sends to register; null counts as absent."""

    auth: JsonObject | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    guest_access_token: str | None = None


class Registered(msgspec.Struct, frozen=True):
    """A new account; no session when the client did not want to be logged in."""

    user_id: UserID
    session: OpenedSession | None


class Registration:
    """Registers users who come with a client."""

    def __init__(
        self,
        policy: RegistrationPolicy,
        uia: Uia,
        names: UserNames,
        guests: Guests,
        passwords: Passwords,
        making: AccountMaking,
        sessions: Sessions,
    ) -> None:
        self._policy = policy
        self._uia = uia
        self._names = names
        self._guests = guests
        self._passwords = passwords
        self._making = making
        self._sessions = sessions

    def require_open(self) -> None:
        """Raises Forbidden: clients may not register."""
        self._policy.flows()

    async def check_available(self, username: str) -> None:
        """Raises InvalidUsername, UserInUse, Exclusive; Forbidden: nobody may register."""
        self.require_open()
        await self._names.available(username)

    async def register(self, form: RegistrationForm, facts: RequestFacts) -> Registered:
        """Register a user, once for each session of user-interactive authentication.

        Raises UiaRequired, Forbidden, InvalidUsername, UserInUse, Exclusive, WeakPassword,
        MissingParam, InvalidIdentifier.
        """
        flows = self._policy.flows()
        begun = await self._uia.peek(form.auth)
        if begun is None or begun.registered_user_id is None:
            # The checks of the name come "before performing User-Interactive Authentication".
            await self._check(form)
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        completed = await self._uia.require(_OPERATION, flows, request)
        form = msgspec.json.decode(completed.body, type=RegistrationForm)
        user_id, device_id = await self._make(form, completed)
        if form.inhibit_login:
            return Registered(user_id, None)
        wanted = WantedSession(
            device_id=device_id,
            display_name=form.initial_device_display_name,
            can_refresh=form.refresh_token is True,
        )
        return Registered(user_id, await self._sessions.open(user_id, wanted))

    async def register_guest(self, form: RegistrationForm) -> Registered:
        """Register a guest. All of the form but the device's name "MUST BE ignored".

        Raises Forbidden. Spec: client-server-api/#guest-access
        """
        self._policy.require_guests_allowed()
        session = await self._guests.register(form.initial_device_display_name)
        return Registered(session.user_id, session)

    async def _check(self, form: RegistrationForm) -> None:
        if form.guest_access_token is not None:
            await self._guests.check_upgrade(form.guest_access_token, form.username)
        elif form.username is not None:
            await self._names.available(form.username)
        if form.password is not None:
            self._passwords.check_strength(form.password)
        if form.device_id:
            parse_device_id(form.device_id)

    async def _make(
        self, form: RegistrationForm, completed: CompletedSession
    ) -> tuple[UserID, DeviceID]:
        if completed.registered_user_id is not None:
            assert completed.registered_device_id is not None
            return completed.registered_user_id, completed.registered_device_id
        await self._check(form)
        if form.password is None:
            raise MissingParam("password is missing")
        new = NewUser(
            user_id=await self._user_id(form),
            password_hash=await self._passwords.hash(form.password),
            device_id=parse_device_id(form.device_id) if form.device_id else new_device_id(),
            is_upgrade=form.guest_access_token is not None,
        )
        return await self._making.make(new, completed.session_hash, completed.proofs)

    async def _user_id(self, form: RegistrationForm) -> UserID:
        if form.guest_access_token is not None:
            return await self._guests.check_upgrade(form.guest_access_token, form.username)
        return self._names.parse(form.username) if form.username else self._names.generated()
