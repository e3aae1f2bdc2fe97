"""Users who have a token made to log in another device.

Spec: client-server-api/#post_matrixclientv1loginget_token
"""

import msgspec

from homeserver.errors import MatrixError
from homeserver.protocol.json_types import JsonObject
from homeserver.services.login_tokens import LoginTokens
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester


class LoginTokenForm(Body, frozen=True):
    """The confirmation that a token is to be made."""

    auth: JsonObject | None = None


class IssuedLoginToken(msgspec.Struct, frozen=True):
    """A login token and for how long it counts."""

    login_token: str
    expires_in_ms: int


class LoginTokenRequests:
    """Gives login tokens to users who confirm it, each time anew."""

    def __init__(
        self, reauthentication: Reauthentication, tokens: LoginTokens, *, is_enabled: bool
    ) -> None:
        self._reauthentication = reauthentication
        self._tokens = tokens
        self._is_enabled = is_enabled

    async def may_ask(self, requester: Requester) -> bool:
        """Whether the user is able to have tokens made."""
        if not self._is_enabled or requester.is_guest:
            return False
        return bool(await self._reauthentication.flows_of(requester.user_id))

    async def issue(
        self, requester: Requester, form: LoginTokenForm, facts: RequestFacts
    ) -> IssuedLoginToken:
        """Return a token. Raises UiaRequired; MatrixError 400: the user may not have one."""
        if not await self.may_ask(requester):
            raise MatrixError(400, "M_UNKNOWN", "You cannot have login tokens made")
        request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
        await self._reauthentication.confirm(
            requester, "make a login token", request, is_single_use=True
        )
        token = await self._tokens.issue(requester.user_id)
        return IssuedLoginToken(token, self._tokens.lifetime_ms)

    async def capability(self, requester: Requester) -> JsonObject:
        """Tell a user whether tokens can be had.

        Spec: client-server-api/#mget_login_token-capability
        """
        return {"enabled": await self.may_ask(requester)}
