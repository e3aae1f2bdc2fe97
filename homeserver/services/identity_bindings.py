"""Making users known by their addresses at identity servers, and ending that.

Spec: client-server-api/#post_matrixclientv3account3pidbind
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from homeserver.errors import InvalidParam, MatrixError, RemoteError
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.third_party_ids import canonical_address
from homeserver.services.identity_servers import IdentityServer, IdentityServers
from homeserver.storage import third_party_ids
from homeserver.storage.database import Database
from homeserver.storage.third_party_ids import BindingRow
from homeserver.telemetry.log import get_logger
from homeserver.web.params import Body
from homeserver.web.requester import Requester

log = get_logger(__name__)

UnbindResult: TypeAlias = Literal["success", "no-support"]
SUCCESS: Final = "success"
NO_SUPPORT: Final = "no-support"


class BindForm(Body, frozen=True):
    """A session of an identity server that has verified an address."""

    client_secret: str
    sid: str
    id_server: str
    id_access_token: str


class UnbindForm(Body, frozen=True):
    """An address, and the identity server that shall forget it; None: those that know it."""

    medium: Literal["email", "msisdn"]
    address: str
    id_server: str | None = None

    def canonical(self) -> tuple[str, str]:
        """Return medium and address in canonical form. Raises InvalidParam."""
        try:
            return self.medium, canonical_address(self.medium, self.address)
        except InvalidIdentifier as error:
            raise InvalidParam(f"address: {error}") from error


class IdentityBindings:
    """Binds addresses to users and remembers where."""

    def __init__(self, servers: IdentityServers, database: Database) -> None:
        self._servers = servers
        self._database = database

    async def bind(self, requester: Requester, form: BindForm) -> None:
        """Bind an address. Another user may have bound it: the identity server decides.

        Raises ServerNotTrusted, MatrixError, RemoteError.
        """
        server = IdentityServer(form.id_server, form.id_access_token)
        bound = await self._servers.bind(server, form.sid, form.client_secret, requester.user_id)
        row = BindingRow(bound.medium, bound.address, server.name)
        async with self._database.connection("bind_address") as connection:
            await third_party_ids.insert_binding(connection, requester.user_id, row)

    async def unbind(self, user_id: UserID, form: UnbindForm) -> UnbindResult:
        """Unbind an address from the named identity server, or from those that it was bound at.

        Raises InvalidParam, ServerNotTrusted, MatrixError, RemoteError.
        """
        medium, address = form.canonical()
        if form.id_server is not None:
            wanted = [BindingRow(medium, address, form.id_server)]
        else:
            known = await self._bindings_of(user_id)
            wanted = [each for each in known if each[:2] == (medium, address)]
        # The specification: when the original id_server is not known, the answer is no-support.
        if not wanted:
            return NO_SUPPORT
        results = [await self._unbind(user_id, each) for each in wanted]
        return SUCCESS if all(results) else NO_SUPPORT

    async def unbind_all(
        self, user_id: UserID, addresses: Iterable[tuple[str, str]], id_server: str | None
    ) -> UnbindResult:
        """Unbind whatever a user has bound, and all of the given addresses if a server is named.

        For the end of an account: failures are logged and make the result `no-support`.
        """
        known, wanted = await self._bindings_of(user_id), set(addresses)
        if id_server is not None:
            bindings = {*known, *(BindingRow(*each, id_server) for each in wanted)}
        else:
            bindings = set(known)
        is_complete = wanted <= {each[:2] for each in bindings}
        for binding in sorted(bindings):
            try:
                is_complete &= await self._unbind(user_id, binding)
            except (MatrixError, RemoteError) as error:
                log.warning("address not unbound", id_server=binding.id_server, reason=str(error))
                is_complete = False
        return SUCCESS if is_complete else NO_SUPPORT

    async def _unbind(self, user_id: UserID, binding: BindingRow) -> bool:
        is_done = await self._servers.unbind(
            binding.id_server, binding.medium, binding.address, user_id
        )
        if is_done:
            async with self._database.connection("unbind_address") as connection:
                await third_party_ids.delete_binding(connection, user_id, binding)
        return is_done

    async def _bindings_of(self, user_id: UserID) -> list[BindingRow]:
        async with self._database.connection("bindings") as connection:
            return await third_party_ids.bindings_of(connection, user_id)
