"""The user's own account. Spec: client-server-api/#legacy-account-management"""

from msgspec import UNSET, Struct, UnsetType

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.deactivation import Deactivation, DeactivationForm
from homeserver.services.identity_bindings import UnbindResult
from homeserver.services.password_change import PasswordChange, PasswordForm
from homeserver.services.password_reset import PasswordReset
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import RequestFacts
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class WhoamiAnswer(Struct, frozen=True):
    """Who has the token."""

    user_id: UserID
    device_id: DeviceID | UnsetType = UNSET
    is_guest: bool = False


class DeactivatedAnswer(Struct, frozen=True):
    """The account has ended; whether identity servers have forgotten its addresses."""

    id_server_unbind_result: UnbindResult


class AccountRoutes:
    """`/account/whoami`, `/account/password` and `/account/deactivate`."""

    def __init__(
        self,
        password_change: PasswordChange,
        password_reset: PasswordReset,
        deactivation: Deactivation,
    ) -> None:
        self._password_change = password_change
        self._password_reset = password_reset
        self._deactivation = deactivation

    @endpoint(
        "GET",
        CLIENT_V3 / "account/whoami",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        guests=True,
        spec="client-server-api/#get_matrixclientv3accountwhoami",
    )
    async def get_token_owner(self, requester: Requester) -> WhoamiAnswer:
        """Get information about the owner of an access token."""
        device_id = requester.device_id
        return WhoamiAnswer(
            requester.user_id, UNSET if device_id is None else device_id, requester.is_guest
        )

    @endpoint(
        "POST",
        CLIENT_V3 / "account/password",
        auth=Auth.OPTIONAL,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3accountpassword",
    )
    async def change_password(
        self, requester: Requester | None, body: PasswordForm, request: RequestFacts
    ) -> Empty:
        """Change the password for an account on this homeserver."""
        if requester is None:
            await self._password_reset.reset(body, request)
        else:
            await self._password_change.change(requester, body, request)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "account/deactivate",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3accountdeactivate",
    )
    async def deactivate_account(
        self, requester: Requester, body: DeactivationForm, request: RequestFacts
    ) -> DeactivatedAnswer:
        """Deactivate the user's account, removing all ability for the user to log in again."""
        return DeactivatedAnswer(await self._deactivation.ask(requester, body, request))
