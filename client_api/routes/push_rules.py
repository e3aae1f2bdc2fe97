"""Push rules. Spec: client-server-api/#push-rules-api"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.services.push_rules import PushRules
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, Query, RawBody
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class PushRulePath(Params, frozen=True):
    """Which rule."""

    kind: RuleKind
    rule_id: str


class PlaceQuery(Query, frozen=True):
    """Where to put the rule among those of its kind."""

    before: str | UnsetType = UNSET
    after: str | UnsetType = UNSET


class EnabledBody(Body, frozen=True):
    """Whether the rule is to match events."""

    enabled: bool


class ActionsBody(Body, frozen=True):
    """What is to be done about events that the rule matches."""

    actions: list[Any]


class PushRuleSets(msgspec.Struct, frozen=True):
    """All rule sets: there is one."""

    global_: JsonObject = msgspec.field(name="global")


class EnabledAnswer(msgspec.Struct, frozen=True):
    """Whether the rule matches events."""

    enabled: bool


class ActionsAnswer(msgspec.Struct, frozen=True):
    """What is done about events that the rule matches."""

    actions: list[Any]


class PushRuleRoutes:
    """`/pushrules`."""

    def __init__(self, push_rules: PushRules) -> None:
        self._push_rules = push_rules

    @endpoint(
        "GET",
        CLIENT_V3 / "pushrules/",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushrules",
    )
    async def get_push_rules(self, requester: Requester) -> PushRuleSets:
        """Retrieve all push rulesets."""
        rules = await self._push_rules.of_user(requester.user_id)
        return PushRuleSets(rules.to_json(requester.user_id))

    @endpoint(
        "GET",
        CLIENT_V3 / "pushrules/global/",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushrulesglobal",
    )
    async def get_global_push_rules(self, requester: Requester) -> dict[str, Any]:
        """Retrieve all push rules."""
        rules = await self._push_rules.of_user(requester.user_id)
        return rules.to_json(requester.user_id)

    @endpoint(
        "GET",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleid",
    )
    async def get_push_rule(self, requester: Requester, path: PushRulePath) -> dict[str, Any]:
        """Retrieve a push rule."""
        rule = await self._push_rules.rule(requester.user_id, path.kind, path.rule_id)
        return rule.to_json(path.kind, requester.user_id)

    @endpoint(
        "PUT",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleid",
    )
    async def put_push_rule(
        self, requester: Requester, path: PushRulePath, query: PlaceQuery, body: RawBody
    ) -> Empty:
        """Add or change a push rule."""
        await self._push_rules.put(
            requester.user_id,
            path.kind,
            path.rule_id,
            body.content,
            before=None if query.before is UNSET else query.before,
            after=None if query.after is UNSET else query.after,
        )
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid",
    )
    async def delete_push_rule(self, requester: Requester, path: PushRulePath) -> Empty:
        """Delete a push rule."""
        await self._push_rules.delete(requester.user_id, path.kind, path.rule_id)
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}/enabled",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled",
    )
    async def get_push_rule_enabled(
        self, requester: Requester, path: PushRulePath
    ) -> EnabledAnswer:
        """Get whether a push rule is enabled."""
        rule = await self._push_rules.rule(requester.user_id, path.kind, path.rule_id)
        return EnabledAnswer(rule.is_enabled)

    @endpoint(
        "PUT",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}/enabled",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled",
    )
    async def put_push_rule_enabled(
        self, requester: Requester, path: PushRulePath, body: EnabledBody
    ) -> Empty:
        """Enable or disable a push rule."""
        await self._push_rules.set_enabled(
            requester.user_id, path.kind, path.rule_id, is_enabled=body.enabled
        )
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}/actions",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions",
    )
    async def get_push_rule_actions(
        self, requester: Requester, path: PushRulePath
    ) -> ActionsAnswer:
        """Get the actions for a push rule."""
        rule = await self._push_rules.rule(requester.user_id, path.kind, path.rule_id)
        return ActionsAnswer(list(rule.actions))

    @endpoint(
        "PUT",
        CLIENT_V3 / "pushrules/global/{kind}/{rule_id}/actions",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions",
    )
    async def put_push_rule_actions(
        self, requester: Requester, path: PushRulePath, body: ActionsBody
    ) -> Empty:
        """Set the actions for a push rule."""
        await self._push_rules.set_actions(requester.user_id, path.kind, path.rule_id, body.actions)
        return Empty()
