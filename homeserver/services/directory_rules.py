"""Who may publish rooms and make aliases, by the configuration of the server."""

from collections.abc import Iterable, Sequence

import msgspec

from homeserver.config.sections.room_directory import DirectoryRule, RoomDirectorySection
from homeserver.protocol.glob import Glob, compile_glob
from homeserver.protocol.identifiers import RoomAlias, RoomID, UserID


class _Rule(msgspec.Struct, frozen=True):
    is_allowing: bool
    user: Glob
    room: Glob
    alias: Glob
    # A room without an alias is meant by a rule that asks for none.
    takes_any_alias: bool

    def applies(self, user_id: UserID, room_id: str, aliases: Iterable[RoomAlias]) -> bool:
        return (
            self.user.matches(user_id)
            and self.room.matches(room_id)
            and (self.takes_any_alias or any(self.alias.matches(alias) for alias in aliases))
        )


class DirectoryRules:
    """Asks the rules of section `room_directory` in order; the first one that fits decides."""

    def __init__(self, section: RoomDirectorySection) -> None:
        self._publication = [_compiled(rule) for rule in section.publication_rules]
        self._aliases = [_compiled(rule) for rule in section.alias_rules]

    def may_publish(
        self, user_id: UserID, room_id: RoomID | None, aliases: Sequence[RoomAlias]
    ) -> bool:
        """Whether a user may list a room, by all its aliases of this server.

        A room that is being made has no ID: only patterns for all rooms fit it.
        """
        return _allows(self._publication, user_id, room_id or "", aliases)

    def may_make_alias(self, user_id: UserID, room_id: RoomID | None, alias: RoomAlias) -> bool:
        """Whether a user may make an alias; `room_id` as in `may_publish`."""
        return _allows(self._aliases, user_id, room_id or "", [alias])


def _compiled(rule: DirectoryRule) -> _Rule:
    return _Rule(
        rule.action == "allow",
        compile_glob(rule.user),
        compile_glob(rule.room),
        compile_glob(rule.alias),
        rule.alias == "*",
    )


def _allows(
    rules: Sequence[_Rule], user_id: UserID, room_id: str, aliases: Sequence[RoomAlias]
) -> bool:
    for rule in rules:
        if rule.applies(user_id, room_id, aliases):
            return rule.is_allowing
    return not rules
