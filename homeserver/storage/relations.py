"""Which events relate to which: single relations, pages of children, and what is summed up."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from homeserver.protocol.identifiers import EventID, UserID
from homeserver.storage.database import Connection
from homeserver.storage.events import Place

# Stretches of log positions, both ends included.
Spans: TypeAlias = Sequence[tuple[int, int]]

# "all the events": but an answer that names them stays below 30 kB for each event in it.
MAX_REFERENCES: Final = 500


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


class ParentFacts(NamedTuple):
    """What matters of an event to those that relate to it.

    `rel_type` is that of its own relation; `thread_id` the root of the thread that it is in.
    """

    event_nid: int
    room_nid: int
    rel_type: str | None
    thread_nid: int | None
    thread_id: EventID | None


async def parent_facts(connection: Connection, event_id: EventID) -> ParentFacts | None:
    """Read the facts of an event of the timeline of whatever room."""
    row = await connection.fetchrow(
        """
        SELECT e.event_nid, e.room_nid, o.rel_type, e.thread_nid, t.event_id AS thread_id
        FROM events e
        LEFT JOIN relations o ON o.event_nid = e.event_nid
        LEFT JOIN events t ON t.event_nid = e.thread_nid
        WHERE e.event_id = $1 AND e.pos IS NOT NULL
        """,
        event_id,
    )
    return ParentFacts(*row) if row else None


async def has_annotated(
    connection: Connection,
    room_nid: int,
    target: EventID,
    *,
    sender: str,
    event_type: str,
    key: str,
) -> bool:
    """Whether a user has annotated an event with a key, by an event of a type."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM relations r
            WHERE r.parent_id = $2 AND r.sender = $3 AND r.rel_type = 'm.annotation'
              AND r.room_nid = $1 AND r.type = $4 AND r.key = $5
        )
        """,
        room_nid,
        target,
        sender,
        event_type,
        key,
    )
    return found


class ChildrenWanted(NamedTuple):
    """A stretch of the children of an event, strictly between two places.

    `depth` 1 is the children alone, 2 their children too, and so on; `rel_type` and `event_type`
    are asked of all of them, on the way to the deeper ones as well.
    """

    room_nid: int
    parent_id: EventID
    rel_type: str | None
    event_type: str | None
    depth: int
    after: Place
    before: Place
    visible: Spans
    ignored: Collection[UserID]
    newest_first: bool
    limit: int


async def children(connection: Connection, wanted: ChildrenWanted) -> list[int]:
    """Return the numbers of the first `limit` children in the order asked for."""
    matches, restrictions = _matches(wanted, first=11)
    order = "DESC" if wanted.newest_first else "ASC"
    rows = await connection.fetch(
        f"""
        {_SOURCES[wanted.depth > 1].format(matches=matches)}
        WHERE (r.pos, r.sub) > ($4, $5) AND (r.pos, r.sub) < ($6, $7)
          AND r.pos <@ $8::text::int8multirange AND r.sender <> ALL ($9::text[])
          AND r.depth <= $3
        ORDER BY r.pos {order}, r.sub {order} LIMIT $10
        """,
        wanted.room_nid,
        wanted.parent_id,
        wanted.depth,
        *wanted.after,
        *wanted.before,
        multirange(wanted.visible),
        list(wanted.ignored),
        wanted.limit,
        *restrictions,
    )
    return [row["event_nid"] for row in rows]


def _matches(wanted: ChildrenWanted, *, first: int) -> tuple[str, list[str]]:
    """Return the conditions on each relation, and their parameters, numbered from `first`."""
    conditions = ["r.room_nid = $1"]
    parameters: list[str] = []
    for column, value in (("rel_type", wanted.rel_type), ("type", wanted.event_type)):
        if value is not None:
            conditions.append(f"r.{column} = ${first + len(parameters)}")
            parameters.append(value)
    return " AND ".join(conditions), parameters


# The relations `r` to choose from: direct ones, and those that lead over others. In old room
# versions events may relate to each other in a circle.
_SOURCES: Final = (
    """
    SELECT r.event_nid FROM (
        SELECT r.*, 1 AS depth FROM relations r WHERE r.parent_id = $2 AND {matches}
    ) r
    """,
    """
    WITH RECURSIVE descendant AS (
        SELECT r.event_nid, r.pos, r.sub, r.sender, 1 AS depth
        FROM relations r WHERE r.parent_id = $2 AND {matches}
        UNION
        SELECT r.event_nid, r.pos, r.sub, r.sender, d.depth + 1
        FROM descendant d
        JOIN events p ON p.event_nid = d.event_nid AND p.flags & 16 <> 0
        JOIN relations r ON r.parent_id = p.event_id AND {matches}
        WHERE d.depth < $3
    )
    SELECT r.event_nid FROM (
        SELECT d.event_nid, d.pos, d.sub, d.sender, min(d.depth) AS depth FROM descendant d
        WHERE d.event_nid <> (SELECT e.event_nid FROM events e WHERE e.event_id = $2)
        GROUP BY d.event_nid, d.pos, d.sub, d.sender
    ) r
    """,
)


class Parent(NamedTuple):
    """An event whose children are to be summed up, as far as they are at `visible` positions."""

    event_nid: int
    visible: Spans


class ThreadSummary(NamedTuple):
    """The newest message of a thread, how many there are, and whether the reader wrote in it."""

    latest_nid: int
    replies: int
    is_participant: bool


class ChildrenSummary(NamedTuple):
    """What the children of one event come to."""

    edit_nid: int | None
    thread: ThreadSummary | None
    references: Sequence[EventID]


async def summaries(
    connection: Connection, user_id: UserID, ignored: Collection[UserID], parents: Sequence[Parent]
) -> dict[int, ChildrenSummary]:
    """Sum up the children of events, and of the newest messages of their threads.

    By event number; events without visible children, or with only those of ignored users, are
    absent. Spec: client-server-api/#aggregations-of-child-events
    """
    rows = await connection.fetch(
        _SUMMARIES,
        [parent.event_nid for parent in parents],
        [multirange(parent.visible) for parent in parents],
        user_id,
        list(ignored),
        MAX_REFERENCES,
    )
    found = {}
    for row in rows:
        thread = None
        if row["latest_nid"] is not None:
            thread = ThreadSummary(row["latest_nid"], row["replies"], row["is_participant"])
        summary = ChildrenSummary(row["edit_nid"], thread, row["reference_ids"])
        if any(summary):
            found[row["event_nid"]] = summary
    return found


_SUMMARIES: Final = """
    WITH parent AS (
        SELECT p.event_nid, p.event_id, p.room_nid, p.pos, p.sender, p.type, p.state_key,
               p.redacted_by_nid, w.visible::int8multirange AS visible
        FROM unnest($1::bigint[], $2::text[]) AS w(event_nid, visible)
        JOIN events p ON p.event_nid = w.event_nid
    ), thread AS (
        SELECT p.event_nid AS root_nid, p.visible, l.event_nid AS latest_nid,
               p.sender = $3 OR EXISTS (
                   SELECT FROM relations r
                   WHERE r.parent_id = p.event_id AND r.sender = $3 AND r.rel_type = 'm.thread'
                     AND r.room_nid = p.room_nid
               ) AS is_participant,
               -- Those who see all of a thread get the count that is kept.
               CASE WHEN int8range(least(p.pos, h.latest_pos), greatest(p.pos, h.latest_pos), '[]')
                         <@ p.visible
               THEN h.replies - (
                   SELECT count(*) FROM relations r
                   WHERE r.parent_id = p.event_id AND r.sender = ANY ($4::text[])
                     AND r.rel_type = 'm.thread' AND r.room_nid = p.room_nid
               ) ELSE (
                   SELECT count(*) FROM relations r
                   WHERE r.parent_id = p.event_id AND r.rel_type = 'm.thread'
                     AND r.room_nid = p.room_nid AND r.pos <@ p.visible
                     AND r.sender <> ALL ($4::text[])
               ) END AS replies
        FROM parent p
        JOIN threads h
            ON h.room_nid = p.room_nid AND h.thread_nid = p.event_nid AND h.replies > 0
        CROSS JOIN LATERAL (
            SELECT r.event_nid FROM relations r
            WHERE r.parent_id = p.event_id AND r.rel_type = 'm.thread' AND r.room_nid = p.room_nid
              AND r.pos <@ p.visible AND r.sender <> ALL ($4::text[])
            ORDER BY r.pos DESC, r.sub DESC LIMIT 1
        ) l
    ), target AS (
        SELECT p.event_nid, p.event_id, p.room_nid, p.sender, p.type, p.state_key,
               p.redacted_by_nid, p.visible
        FROM parent p
        UNION ALL
        SELECT e.event_nid, e.event_id, e.room_nid, e.sender, e.type, e.state_key,
               e.redacted_by_nid, t.visible
        FROM thread t JOIN events e ON e.event_nid = t.latest_nid AND e.flags & 16 <> 0
    )
    SELECT t.event_nid, d.event_nid AS edit_nid, h.latest_nid, h.replies, h.is_participant,
           ARRAY (
               SELECT e.event_id FROM relations r JOIN events e ON e.event_nid = r.event_nid
               WHERE r.parent_id = t.event_id AND r.rel_type = 'm.reference'
                 AND r.room_nid = t.room_nid AND r.pos <@ t.visible
                 AND r.sender <> ALL ($4::text[])
               ORDER BY r.pos, r.sub LIMIT $5
           ) AS reference_ids
    FROM target t
    LEFT JOIN thread h ON h.root_nid = t.event_nid
    LEFT JOIN LATERAL (
        -- client-server-api/#validity-of-replacement-events; only one without `m.new_content` has
        -- a key.
        SELECT r.event_nid FROM relations r JOIN events e ON e.event_nid = r.event_nid
        WHERE r.parent_id = t.event_id AND r.rel_type = 'm.replace' AND r.room_nid = t.room_nid
          AND r.sender = t.sender AND r.type = t.type AND r.key IS NULL AND r.pos <@ t.visible
          AND r.sender <> ALL ($4::text[])
          AND t.state_key IS NULL AND t.redacted_by_nid IS NULL
          AND NOT EXISTS (
              SELECT FROM relations o WHERE o.event_nid = t.event_nid AND o.rel_type = 'm.replace'
          )
        ORDER BY r.origin_server_ts DESC, e.event_id COLLATE "C" DESC LIMIT 1
    ) d ON true
"""


def multirange(spans: Spans) -> str:
    """Return the text of an int8multirange."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in spans) + "}"
