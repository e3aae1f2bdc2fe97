"""The addresses of accounts. They reset passwords, so that adding one takes another proof.

Spec: client-server-api/#adding-account-administrative-contact-information
"""

from typing import Final

import msgspec

from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.errors import Forbidden, MissingParam, ThreepidAuthFailed, ThreepidInUse
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.third_party_ids import canonical_address
from homeserver.services.identity_bindings import IdentityBindings, UnbindForm, UnbindResult
from homeserver.services.identity_servers import IdentityServer, IdentityServers
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import CompletedSession, UiaRequest, body_without_auth
from homeserver.services.validation_sessions import Purpose, Validated, ValidationSessions
from homeserver.storage import third_party_ids
from homeserver.storage.database import Database, Transaction
from homeserver.storage.third_party_ids import AddressRow
from homeserver.telemetry.clock import Clock
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester

_OPERATION: Final = "add address"
_UNVERIFIED: Final = "The address has not been verified, or not with this secret"


class AddForm(Body, frozen=True):
    """A verified address to add. Required, unless the session knows them."""

    sid: str | None = None
    client_secret: str | None = None
    auth: JsonObject | None = None


class Credentials(Body, frozen=True):
    """A session with an identity server, or with this one."""

    sid: str
    client_secret: str
    id_server: str | None = None
    id_access_token: str | None = None


class LegacyAddForm(Body, frozen=True):
    """A verified address to add, as clients before r0.6 send it."""

    three_pid_creds: Credentials | None = None
    auth: JsonObject | None = None


class AddressBook:
    """Knows whose an address is: `KnownAddresses` of `login_identifiers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def user_of(self, medium: str, address: str) -> UserID | None:
        """Return the user with an address in whatever form it is written."""
        try:
            canonical = canonical_address(medium, address)
        except InvalidIdentifier:
            return None
        async with self._database.connection("user_of_address") as connection:
            return await third_party_ids.user_of(connection, medium, canonical)


class ThirdPartyIds:
    """Adds addresses to accounts and removes them."""

    def __init__(
        self,
        settings: ThirdPartyIdsSection,
        reauthentication: Reauthentication,
        validations: ValidationSessions,
        servers: IdentityServers,
        bindings: IdentityBindings,
        database: Database,
        clock: Clock,
    ) -> None:
        self._is_open = settings.changes_enabled
        self._reauthentication = reauthentication
        self._validations = validations
        self._servers = servers
        self._bindings = bindings
        self._database = database
        self._clock = clock

    async def changes_capability(self, requester: Requester) -> JsonObject:
        """Tell users whether they may change their addresses.

        Spec: client-server-api/#m3pid_changes-capability
        """
        return {"enabled": self._is_open}

    async def addresses_of(self, user_id: UserID) -> list[AddressRow]:
        """List the addresses of a user, the oldest first."""
        async with self._database.connection("addresses") as connection:
            return await third_party_ids.addresses_of(connection, user_id)

    async def add(self, requester: Requester, form: AddForm, facts: RequestFacts) -> None:
        """Add an address that was verified for this, after another proof of who asks.

        Raises UiaRequired, MissingParam, ThreepidAuthFailed, ThreepidInUse, Forbidden.
        """
        self._require_open()
        if form.auth is None:
            await self._validated(form)
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        completed = await self._confirmed(requester, request)
        form = msgspec.json.decode(completed.body, type=AddForm)
        await self._store(requester.user_id, await self._validated(form), is_ours=True)

    async def add_by_credentials(
        self, requester: Requester, form: LegacyAddForm, facts: RequestFacts
    ) -> None:
        """Add an address that this server or an identity server has verified.

        It takes another proof of who asks, as `add` does: else whoever has found a token could
        reset the password. Raises UiaRequired, MissingParam, ThreepidInUse, Forbidden,
        ThreepidAuthFailed 403, ServerNotTrusted, MatrixError, RemoteError.
        """
        self._require_open()
        if form.auth is None and form.three_pid_creds is None:
            raise MissingParam("three_pid_creds is missing")
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        completed = await self._confirmed(requester, request)
        form = msgspec.json.decode(completed.body, type=LegacyAddForm)
        credentials = form.three_pid_creds
        if credentials is None:
            raise MissingParam("three_pid_creds is missing")
        own = await self._validations.validated(
            credentials.sid, credentials.client_secret, Purpose.ADD
        )
        if own is not None:
            await self._store(requester.user_id, own, is_ours=True)
        else:
            validated = await self._validated_elsewhere(credentials)
            await self._store(requester.user_id, validated, is_ours=False)

    async def remove(self, requester: Requester, form: UnbindForm) -> UnbindResult:
        """Remove an address from an account and from the identity servers that know it.

        Raises InvalidParam, Forbidden, ServerNotTrusted, MatrixError.
        """
        self._require_open()
        medium, address = form.canonical()
        result = await self._bindings.unbind(requester.user_id, form)

        async def work(tx: Transaction) -> None:
            await third_party_ids.delete(tx, requester.user_id, medium, address)

        await self._database.run_transaction(work, "remove_address")
        return result

    async def _confirmed(self, requester: Requester, request: UiaRequest) -> CompletedSession:
        # Each address needs consent: it can reset the password for good.
        return await self._reauthentication.confirm(
            requester, _OPERATION, request, is_single_use=True
        )

    def _require_open(self) -> None:
        if not self._is_open:
            raise Forbidden("Addresses cannot be changed on this server")

    async def _validated(self, form: AddForm) -> Validated:
        if form.sid is None or form.client_secret is None:
            raise MissingParam("sid and client_secret must be given")
        validated = await self._validations.validated(form.sid, form.client_secret, Purpose.ADD)
        if validated is None:
            raise ThreepidAuthFailed(_UNVERIFIED)
        return validated

    async def _validated_elsewhere(self, credentials: Credentials) -> Validated:
        if credentials.id_server is None or credentials.id_access_token is None:
            raise ThreepidAuthFailed(_UNVERIFIED, status=403)
        server = IdentityServer(credentials.id_server, credentials.id_access_token)
        bound = await self._servers.validated(server, credentials.sid, credentials.client_secret)
        self._validations.require_allowed(bound.address)
        return Validated(credentials.sid, bound.medium, bound.address, bound.validated_ts)

    async def _store(self, user_id: UserID, validated: Validated, *, is_ours: bool) -> None:
        """Give an address to a user; `is_ours`: this server has verified it, for one use."""
        row = AddressRow(
            validated.medium, validated.address, validated.validated_ts, self._clock.now_ms()
        )

        async def work(tx: Transaction) -> None:
            if is_ours and not await self._validations.take(tx, validated):
                raise ThreepidAuthFailed(_UNVERIFIED)
            if not await third_party_ids.insert(tx, user_id, row):
                raise ThreepidInUse

        await self._database.run_transaction(work, "add_address")
