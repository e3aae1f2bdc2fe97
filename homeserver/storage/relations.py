"""Which events relate to which."""

from collections.abc import Iterable

from homeserver.protocol.identifiers import EventID, UserID
from homeserver.storage.database import Connection


async def related_by(
    connection: Connection, parent_ids: Iterable[EventID]
) -> dict[EventID, list[tuple[UserID, str]]]:
    """Return by whom, and how (`rel_type`), events are related to; each pair once."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT r.parent_id, r.sender, r.rel_type FROM relations r
        WHERE r.parent_id = ANY ($1::text[])
        """,
        list(parent_ids),
    )
    found: dict[EventID, list[tuple[UserID, str]]] = {}
    for row in rows:
        found.setdefault(EventID(row["parent_id"]), []).append(
            (UserID(row["sender"]), row["rel_type"])
        )
    return found
