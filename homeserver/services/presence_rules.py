"""What others are told of a user, from what is seen and what the user has chosen.

Pure. Spec: client-server-api/#presence
"""

from typing import Final, Literal, NamedTuple, TypeAlias

from homeserver.storage.presence import PresenceRow, Seen

PresenceName: TypeAlias = Literal["online", "offline", "unavailable"]

# Not in the specification: a line or two.
MAX_STATUS_LENGTH: Final = 512


class Choice(NamedTuple):
    """What a user sets by hand; `status_msg` None leaves it as it is, '' removes it."""

    presence: PresenceName
    status_msg: str | None
    ts: int


def updated_local(
    row: PresenceRow, seen: Seen | None, choice: Choice | None, last_active_ts: int, now_ms: int
) -> PresenceRow:
    """Return the new row of a local user; its position is that of the old one.

    `seen` is what the user is by all connected clients, None without any: then nothing is left
    of what the user has chosen but the status message. To be unavailable by choice ends with the
    next activity, "offline" (to be hidden) with the next choice.
    """
    last_active_ts = max(last_active_ts, row.last_active_ts)
    chosen, chosen_ts, status_msg = row.chosen, row.chosen_ts, row.status_msg
    if choice is not None:
        chosen = None if choice.presence == "online" else choice.presence
        chosen_ts = choice.ts
        if choice.status_msg is not None:
            status_msg = choice.status_msg or None
    elif chosen == "unavailable" and last_active_ts > chosen_ts:
        chosen = None
    if seen is None:
        seen, chosen = Seen("offline", currently_active=False), None
    elif chosen is not None:
        seen = Seen(chosen, currently_active=False)
    return row._replace(
        presence=seen.presence,
        currently_active=seen.currently_active,
        status_msg=status_msg,
        chosen=chosen,
        chosen_ts=chosen_ts,
        last_active_ts=last_active_ts,
        updated_ts=now_ms,
    )


def is_told(old: PresenceRow, new: PresenceRow) -> bool:
    """Whether others are told of a change.

    Times alone are not: `currently_active` is there "to stop sending continuous presence updates".
    """
    return (old.presence, old.currently_active, old.status_msg) != (
        new.presence,
        new.currently_active,
        new.status_msg,
    )
