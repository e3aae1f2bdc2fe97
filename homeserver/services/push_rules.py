"""The push rules of users. Spec: client-server-api/#push-rules-api"""

from collections.abc import Callable
from typing import Final

import msgspec

from homeserver.errors import MatrixError, NotFound, TooLarge
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.push_rules import user_rules
from homeserver.protocol.push_rules.model import (
    PushRuleAnchorNotFound,
    PushRuleNotFound,
    Rule,
    RuleKind,
    RuleSet,
    TooManyPushRules,
)
from homeserver.protocol.push_rules.user_rules import UserRules, merged
from homeserver.storage import push_rules
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.streams.log_writer import LogWriter
from homeserver.streams.personal_rules import DEFAULT_RULES, decode_rules

# The type of the account data that shows the rules to clients.
PUSH_RULES: Final = "m.push_rules"
# All of a user's rules are read and written as one: this is room for thousands of muted rooms.
MAX_RULES_BYTES: Final = 2 * 1024 * 1024

_encode: Final = msgspec.json.Encoder().encode


class PushRules:
    """Reads and changes the push rules of users."""

    def __init__(self, database: Database, log_writer: LogWriter) -> None:
        self._database = database
        self._log_writer = log_writer

    async def of_user(self, user_id: UserID) -> RuleSet:
        """Return the rules in force for a user."""
        async with self._database.connection("push_rules") as connection:
            return merged(await _rules_of(connection, user_id), DEFAULT_RULES)

    async def as_account_data(self, user_id: UserID) -> bytes:
        """Return the content of the account data `m.push_rules`, as JSON."""
        return _content(user_id, await self.of_user(user_id))

    async def as_account_data_after(self, user_id: UserID, position: int) -> bytes | None:
        """Return the same if the rules have changed after a position of the log, else None."""
        if not await self.have_changed_after(user_id, position):
            return None
        return await self.as_account_data(user_id)

    async def have_changed_after(self, user_id: UserID, position: int) -> bool:
        """Whether the user's rules have changed after a position of the log."""
        async with self._database.connection("push_rules") as connection:
            return await push_rules.have_changed_after(connection, user_id, position)

    async def rule(self, user_id: UserID, kind: RuleKind, rule_id: str) -> Rule:
        """Return one rule in force. Raises NotFound."""
        found = (await self.of_user(user_id)).find(kind, rule_id)
        if found is None:
            raise NotFound("The push rule was not found.")
        return found

    async def put(
        self,
        user_id: UserID,
        kind: RuleKind,
        rule_id: str,
        body: JsonObject,
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Add or replace a rule of the user's own; see `user_rules.put_rule`.

        Raises InvalidPushRule, TooLarge; MatrixError M_UNKNOWN: there is no rule `before` or
        `after`.
        """
        await self._change(
            user_id,
            lambda rules: user_rules.put_rule(
                rules, kind, rule_id, body, before=before, after=after
            ),
        )

    async def delete(self, user_id: UserID, kind: RuleKind, rule_id: str) -> None:
        """Delete a rule of the user's own. Raises NotFound, for server-default rules too."""
        await self._change(user_id, lambda rules: user_rules.delete_rule(rules, kind, rule_id))

    async def set_enabled(
        self, user_id: UserID, kind: RuleKind, rule_id: str, *, is_enabled: bool
    ) -> None:
        """Enable or disable any rule. Raises NotFound."""
        await self._change(
            user_id,
            lambda rules: user_rules.set_enabled(
                rules, DEFAULT_RULES, kind, rule_id, is_enabled=is_enabled
            ),
        )

    async def set_actions(
        self, user_id: UserID, kind: RuleKind, rule_id: str, actions: JsonValue
    ) -> None:
        """Change the actions of any rule. Raises NotFound, InvalidPushRule."""
        await self._change(
            user_id,
            lambda rules: user_rules.set_actions(rules, DEFAULT_RULES, kind, rule_id, actions),
        )

    async def _change(self, user_id: UserID, change: Callable[[UserRules], UserRules]) -> None:
        """Write changed rules; the next sync of the user on this node has them."""

        async def write(tx: Transaction) -> int:
            await push_rules.lock(tx, user_id)
            changed = _encode(_changed(await _rules_of(tx, user_id), change))
            if len(changed) > MAX_RULES_BYTES:
                raise TooLarge(f"Your push rules would be larger than {MAX_RULES_BYTES} bytes")
            return await push_rules.put(tx, user_id, changed)

        position = await self._database.run_transaction(write, "push_rules")
        await self._log_writer.told(position)


def _content(user_id: UserID, rules: RuleSet) -> bytes:
    return _encode({"global": rules.to_json(user_id)})


async def _rules_of(connection: Connection, user_id: UserID) -> UserRules:
    rules = await push_rules.rules_of(connection, user_id)
    return UserRules() if rules is None else decode_rules(rules)


def _changed(rules: UserRules, change: Callable[[UserRules], UserRules]) -> UserRules:
    """Apply a change; its refusals become those of the API. Others pass through."""
    try:
        return change(rules)
    except PushRuleNotFound as error:
        raise NotFound("The push rule was not found.") from error
    except PushRuleAnchorNotFound as error:
        raise MatrixError(400, "M_UNKNOWN", str(error)) from error
    except TooManyPushRules as error:
        raise TooLarge(str(error)) from error
