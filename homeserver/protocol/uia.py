"""User-interactive authentication as a value: what is asked for, and what has been done.

Spec: client-server-api/#user-interactive-authentication-api
"""

from typing import Final, Self, TypeAlias

import msgspec

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonObject, JsonValue

# The authentication types of the specification.
PASSWORD: Final = "m.login.password"  # noqa: S105  a name
RECAPTCHA: Final = "m.login.recaptcha"
SSO: Final = "m.login.sso"
EMAIL_IDENTITY: Final = "m.login.email.identity"
MSISDN: Final = "m.login.msisdn"
DUMMY: Final = "m.login.dummy"
REGISTRATION_TOKEN: Final = "m.login.registration_token"  # noqa: S105  a name
TERMS: Final = "m.login.terms"
OAUTH: Final = "m.oauth"

# Each flow lists its stages in the order in which they must be completed.
Flows: TypeAlias = tuple[tuple[str, ...], ...]


class AuthAttempt(msgspec.Struct, frozen=True):
    """The `auth` of a request. Without a `type` it asks how far the session has come."""

    session: str | None
    type: str | None
    # All members, for the stage to read.
    members: JsonObject


class UiaSession(msgspec.Struct, frozen=True, kw_only=True):
    """One authentication in progress. `completed` is in the order of completion."""

    session_id: str
    flows: Flows
    params: JsonObject = {}
    completed: tuple[str, ...] = ()

    @property
    def is_satisfied(self) -> bool:
        """Whether the request may be carried out."""
        return is_satisfied(self.flows, self.completed)

    def may_attempt(self, stage: str) -> bool:
        """Say whether the stage comes next in some flow.

        Completed stages cannot be tried again.
        """
        return stage in next_stages(self.flows, self.completed)

    def with_completed(self, stage: str) -> Self:
        """Return the session with one more stage done. `may_attempt` must have been asked."""
        return msgspec.structs.replace(self, completed=(*self.completed, stage))

    def challenge(self, errcode: str | None = None, error: str | None = None) -> JsonObject:
        """Return the body of the 401 answer, with the reason why an attempt failed."""
        stages = {stage for flow in self.flows for stage in flow}
        body: JsonObject = {
            "session": self.session_id,
            "flows": [{"stages": list(flow)} for flow in self.flows],
            "params": {name: value for name, value in self.params.items() if name in stages},
        }
        if self.completed:
            body["completed"] = list(self.completed)
        if errcode is not None:
            body["errcode"] = errcode
            body["error"] = error or ""
        return body


def is_satisfied(flows: Flows, completed: tuple[str, ...]) -> bool:
    """Say whether all stages of a flow are completed, in its order.

    A flow without stages is none: no request "ever succeeds without auth".
    """
    return any(flow and completed[: len(flow)] == flow for flow in flows)


def next_stages(flows: Flows, completed: tuple[str, ...]) -> frozenset[str]:
    """Return the stages that may be attempted now."""
    done = len(completed)
    return frozenset(flow[done] for flow in flows if len(flow) > done and flow[:done] == completed)


def parse_auth(auth: JsonValue) -> AuthAttempt:
    """Read the `auth` of a request. Raises InvalidJson."""
    if not isinstance(auth, dict):
        raise InvalidJson("auth must be an object")
    session, stage = auth.get("session"), auth.get("type")
    if not isinstance(session, str | None) or not isinstance(stage, str | None):
        raise InvalidJson("session and type of auth must be strings")
    return AuthAttempt(session=session, type=stage, members=auth)
