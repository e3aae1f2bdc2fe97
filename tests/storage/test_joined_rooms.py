"""Rooms that were joined through other servers, against a real PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from homeserver.storage import joined_rooms
from homeserver.storage.database import Connection, Database


class Explained:
    """A connection that tells how a statement would be run, instead of running it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plan = ""

    async def fetch(self, query: str, *args: object) -> Sequence[Any]:
        rows = await self._connection.fetch(f"EXPLAIN {query}", *args)
        self.plan = "\n".join(row[0] for row in rows)
        return []


async def test_completed_rooms_are_found_without_reading_all_changes(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO user_changes (pos, user_id, kind, room_nid)
            SELECT n, '@a:localhost', CASE WHEN n % 5000 = 0 THEN 'room_completed' ELSE 'other' END,
                   n % 15000
            FROM generate_series(1, 20000) n
            """
        )
        await connection.execute("ANALYZE user_changes")
        completed = await joined_rooms.completed_rooms(connection)
        assert list(completed.items()) == [(10000, 10000), (0, 15000), (5000, 20000)]
        explained = Explained(connection)
        await joined_rooms.completed_rooms(explained)  # type: ignore[arg-type]
        assert "user_changes_room_completed" in explained.plan
        assert "Seq Scan" not in explained.plan
