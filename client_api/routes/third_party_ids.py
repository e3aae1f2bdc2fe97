"""The addresses of an account.

Spec: client-server-api/#adding-account-administrative-contact-information
"""

from collections.abc import Sequence

from msgspec import Struct

from homeserver.services.identity_bindings import (
    BindForm,
    IdentityBindings,
    UnbindForm,
    UnbindResult,
)
from homeserver.services.third_party_ids import AddForm, LegacyAddForm, ThirdPartyIds
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import RequestFacts
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester


class AddressAnswer(Struct, frozen=True):
    """One address; times in milliseconds since 1970."""

    medium: str
    address: str
    validated_at: int
    added_at: int


class AddressesAnswer(Struct, frozen=True):
    """The addresses of the account."""

    threepids: Sequence[AddressAnswer]


class UnboundAnswer(Struct, frozen=True):
    """Whether identity servers have forgotten the address."""

    id_server_unbind_result: UnbindResult


class ThirdPartyIdRoutes:
    """`/account/3pid` and what is below it, but for the verification."""

    def __init__(self, addresses: ThirdPartyIds, bindings: IdentityBindings) -> None:
        self._addresses = addresses
        self._bindings = bindings

    @endpoint(
        "GET",
        CLIENT_V3 / "account/3pid",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_matrixclientv3account3pid",
    )
    async def get_account_3pids(self, requester: Requester) -> AddressesAnswer:
        """Get a list of a user's third-party identifiers."""
        rows = await self._addresses.addresses_of(requester.user_id)
        return AddressesAnswer([AddressAnswer(*row) for row in rows])

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        deprecated=True,
        spec="client-server-api/#post_matrixclientv3account3pid",
    )
    async def post_3pids(
        self, requester: Requester, body: LegacyAddForm, request: RequestFacts
    ) -> Empty:
        """Add contact information to the user's account."""
        await self._addresses.add_by_credentials(requester, body, request)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/add",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        also=(CLIENT_UNSTABLE / "account/3pid/add",),
        spec="client-server-api/#post_matrixclientv3account3pidadd",
    )
    async def add_3pid(self, requester: Requester, body: AddForm, request: RequestFacts) -> Empty:
        """Add contact information to the user's account."""
        await self._addresses.add(requester, body, request)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/bind",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        also=(CLIENT_UNSTABLE / "account/3pid/bind",),
        spec="client-server-api/#post_matrixclientv3account3pidbind",
    )
    async def bind_3pid(self, requester: Requester, body: BindForm) -> Empty:
        """Bind a 3PID to the user's account through an Identity Service."""
        await self._bindings.bind(requester, body)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/delete",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        also=(CLIENT_UNSTABLE / "account/3pid/delete",),
        spec="client-server-api/#post_matrixclientv3account3piddelete",
    )
    async def delete_3pid_from_account(
        self, requester: Requester, body: UnbindForm
    ) -> UnboundAnswer:
        """Delete a third-party identifier from the user's account."""
        return UnboundAnswer(await self._addresses.remove(requester, body))

    @endpoint(
        "POST",
        CLIENT_V3 / "account/3pid/unbind",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        also=(CLIENT_UNSTABLE / "account/3pid/unbind",),
        spec="client-server-api/#post_matrixclientv3account3pidunbind",
    )
    async def unbind_3pid_from_account(
        self, requester: Requester, body: UnbindForm
    ) -> UnboundAnswer:
        """Remove a user's third-party identifier from an identity server."""
        return UnboundAnswer(await self._bindings.unbind(requester.user_id, body))
