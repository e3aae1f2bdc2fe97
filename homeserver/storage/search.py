"""The texts to search for, and finding them by their words.

Spec: client-server-api/#server-side-search
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction
from homeserver.storage.relations import Spans, multirange

BODY, NAME, TOPIC = 1, 2, 3
# Words of a text with the places where they stand, counted from 1 to at most 16,383.
Words: TypeAlias = Mapping[str, Sequence[int]]

# Any number that no other user of advisory locks in this database takes: "mxsearch" in ASCII.
_LOCK: Final = 0x6D78736561726368


class StoredText(NamedTuple):
    """An event that may be searched for, with the newest edit of it."""

    event_nid: int
    room_nid: int
    pos: int
    origin_server_ts: int
    type: str
    sender: UserID
    state_key: str | None
    core: bytes
    edit_nid: int | None
    edit_pos: int | None
    edit_core: bytes | None


class TextRow(NamedTuple):
    """A text as it is indexed, in part `part_nid` of its room; `ts` in ms."""

    event_nid: int
    part_nid: int
    pos: int
    ts: int
    edit_nid: int | None
    edit_pos: int | None
    kind: int
    sender: UserID
    words: Words


class Part(NamedTuple):
    """A part of a room's texts: about how many there are, and the time of the newest, in ms."""

    part_nid: int
    room_nid: int
    texts: int
    newest_ts: int


class AskedWord(NamedTuple):
    """A word, or how one begins, and its place among those of its phrase."""

    text: str
    position: int
    is_beginning: bool


# Words that stand at the same distances from each other as in what was asked for.
Phrase: TypeAlias = Sequence[AskedWord]


class Question(NamedTuple):
    """What to find: texts with all the phrases, that are visible and pass the filter.

    `senders` None: all. Messages of `ignored` are left out, state events of them not. Only texts
    older than `before` (time in ms, event number).
    """

    phrases: Sequence[Phrase]
    kinds: Collection[int]
    senders: Collection[str] | None
    not_senders: Collection[str]
    ignored: Collection[str]
    before: tuple[int, int]


class Candidate(NamedTuple):
    """A text that was found."""

    event_nid: int
    room_nid: int
    ts: int
    sender: UserID
    rank: float


async def lock_index(tx: Transaction) -> None:
    """Wait until nobody else writes texts."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def take_backlog(tx: Transaction, limit: int) -> list[int]:
    """Take events off the list of those that no entry of the log tells of."""
    rows = await tx.fetch(
        """
        DELETE FROM search_backlog WHERE event_nid IN (
            SELECT b.event_nid FROM search_backlog b ORDER BY b.event_nid LIMIT $1
        )
        RETURNING event_nid
        """,
        limit,
    )
    return [row["event_nid"] for row in rows]


async def originals_of(connection: Connection, event_nids: Collection[int]) -> list[int]:
    """Return the events that some events edit."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT p.event_nid FROM relations r
        JOIN events p ON p.event_id = r.parent_id AND p.room_nid = r.room_nid
        WHERE r.event_nid = ANY ($1::bigint[]) AND r.rel_type = 'm.replace'
        """,
        list(event_nids),
    )
    return [row["event_nid"] for row in rows]


async def texts_from(connection: Connection, edit_nids: Collection[int]) -> list[int]:
    """Return the events whose indexed text is that of one of the edits."""
    rows = await connection.fetch(
        "SELECT event_nid FROM search_texts WHERE edit_nid = ANY ($1::bigint[])", list(edit_nids)
    )
    return [row["event_nid"] for row in rows]


async def texts_of(connection: Connection, event_nids: Collection[int]) -> list[StoredText]:
    """Read those of the events that may be searched for as they are now, in timeline order.

    Redacted ones are not among them, and no edits: their text is that of the original.
    Spec: client-server-api/#validity-of-replacement-events
    """
    rows = await connection.fetch(
        """
        SELECT e.event_nid, e.room_nid, e.pos, e.origin_server_ts, e.type, e.sender,
               e.state_key, e.core, d.event_nid AS edit_nid, d.pos AS edit_pos,
               d.core AS edit_core
        FROM events e
        LEFT JOIN LATERAL (
            SELECT r.event_nid, r.pos, x.core
            FROM relations r JOIN events x ON x.event_nid = r.event_nid
            WHERE r.parent_id = e.event_id AND r.rel_type = 'm.replace'
              AND r.room_nid = e.room_nid AND r.sender = e.sender AND r.type = e.type
              AND r.key IS NULL AND e.state_key IS NULL
            ORDER BY r.origin_server_ts DESC, x.event_id COLLATE "C" DESC LIMIT 1
        ) d ON e.flags & 16 <> 0
        WHERE e.event_nid = ANY ($1::bigint[])
          AND e.pos IS NOT NULL AND e.redacted_by_nid IS NULL
          AND NOT EXISTS (
              SELECT FROM relations o WHERE o.event_nid = e.event_nid AND o.rel_type = 'm.replace'
          )
        ORDER BY e.pos, e.sub
        """,
        list(event_nids),
    )
    return [StoredText(*row) for row in rows]


async def newest_parts(tx: Transaction, room_nids: Collection[int]) -> dict[int, Part]:
    """Return the part of each room that was begun last."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT ON (p.room_nid) p.part_nid, p.room_nid, p.texts, p.newest_ts
        FROM search_parts p WHERE p.room_nid = ANY ($1::bigint[])
        ORDER BY p.room_nid, p.part_nid DESC
        """,
        list(room_nids),
    )
    return {row["room_nid"]: Part(*row) for row in rows}


async def begin_part(tx: Transaction, room_nid: int) -> Part:
    """Make the next part of a room."""
    part_nid = await tx.fetchval(
        """
        INSERT INTO search_parts (room_nid, texts, newest_ts) VALUES ($1, 0, 0) RETURNING part_nid
        """,
        room_nid,
    )
    return Part(part_nid, room_nid, 0, 0)


async def put_texts(tx: Transaction, texts: Sequence[TextRow]) -> None:
    """Write texts in the place of what the same events had, and count them in their parts."""
    if not texts:
        return
    await tx.execute(
        """
        INSERT INTO search_texts (event_nid, pos, ts, edit_nid, edit_pos, kind, sender, words)
        SELECT t.event_nid, t.pos, t.ts, t.edit_nid, t.edit_pos, t.kind, t.sender,
               t.words::tsvector
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[],
            $7::text[], $8::text[]
        ) AS t (event_nid, pos, ts, edit_nid, edit_pos, kind, sender, words)
        ON CONFLICT (event_nid) DO UPDATE
        SET ts = excluded.ts, edit_nid = excluded.edit_nid, edit_pos = excluded.edit_pos,
            words = excluded.words
        """,
        [text.event_nid for text in texts],
        [text.pos for text in texts],
        [text.ts for text in texts],
        [text.edit_nid for text in texts],
        [text.edit_pos for text in texts],
        [text.kind for text in texts],
        [text.sender for text in texts],
        [_tsvector(text.part_nid, text.words) for text in texts],
    )
    await tx.execute(
        """
        UPDATE search_parts p
        SET texts = p.texts + n.texts, newest_ts = greatest(p.newest_ts, n.newest_ts)
        FROM (
            SELECT t.part_nid, count(*) AS texts, max(t.ts) AS newest_ts
            FROM unnest($1::bigint[], $2::bigint[]) AS t (part_nid, ts) GROUP BY t.part_nid
        ) n
        WHERE p.part_nid = n.part_nid
        """,
        [text.part_nid for text in texts],
        [text.ts for text in texts],
    )


async def forget_texts(tx: Transaction, event_nids: Collection[int]) -> None:
    """Remove texts of events, of those that have one."""
    await tx.execute(
        "DELETE FROM search_texts WHERE event_nid = ANY ($1::bigint[])", list(event_nids)
    )


async def parts_of_rooms(connection: Connection, room_nids: Collection[int]) -> list[Part]:
    """Return the parts of rooms, those with the newest texts first."""
    rows = await connection.fetch(
        """
        SELECT p.part_nid, p.room_nid, p.texts, p.newest_ts FROM search_parts p
        WHERE p.room_nid = ANY ($1::bigint[]) ORDER BY p.newest_ts DESC, p.part_nid DESC
        """,
        list(room_nids),
    )
    return [Part(*row) for row in rows]


async def find(
    connection: Connection,
    question: Question,
    parts: Sequence[Part],
    visible: Mapping[int, Spans],
    *,
    since_ts: int | None = None,
    limit: int | None = None,
) -> tuple[list[Candidate], int]:
    """Find texts in parts; of each room those at the positions that are `visible` there.

    Only those of a time or later, and of these only the newest: so many are returned, and how many
    there are. The rank is higher the more often, the closer together and in the shorter text the
    words stand, and higher for whole words than for their beginnings.
    """
    spans = {room_nid: multirange(visible[room_nid]) for room_nid in {p.room_nid for p in parts}}
    rows = await connection.fetch(
        _FIND,
        [part.room_nid for part in parts],
        [_tsquery(part.part_nid, question.phrases, beginnings=True) for part in parts],
        [_tsquery(part.part_nid, question.phrases, beginnings=False) for part in parts],
        [spans[part.room_nid] for part in parts],
        list(question.kinds),
        None if question.senders is None else list(question.senders),
        list(question.not_senders),
        list(question.ignored),
        *question.before,
        since_ts,
        limit,
    )
    found = [Candidate(row[0], row[1], row[2], row[3], row[4]) for row in rows]
    return found, rows[0]["every"] if rows else 0


_FIND: Final = """
    SELECT f.event_nid, f.room_nid, f.ts, f.sender,
           ts_rank(f.words, f.query, 1) + ts_rank(f.words, f.exact, 1) AS rank, f.every
    FROM (
        SELECT t.event_nid, p.room_nid, t.ts, t.sender, t.words, p.query, p.exact,
               count(*) OVER () AS every
        FROM unnest(
            $1::bigint[], $2::text[]::tsquery[], $3::text[]::tsquery[], $4::text[]::int8multirange[]
        ) AS p (room_nid, query, exact, visible)
        JOIN search_texts t ON t.words @@ p.query
        WHERE t.pos <@ p.visible AND (t.edit_pos IS NULL OR t.edit_pos <@ p.visible)
          AND t.kind = ANY ($5::smallint[])
          AND ($6::text[] IS NULL OR t.sender = ANY ($6))
          AND t.sender <> ALL ($7::text[])
          AND (t.kind <> 1 OR t.sender <> ALL ($8::text[]))
          AND (t.ts, t.event_nid) < ($9::bigint, $10::bigint)
          AND ($11::bigint IS NULL OR t.ts >= $11)
        ORDER BY t.ts DESC, t.event_nid DESC LIMIT $12
    ) f
"""


def _tsvector(part_nid: int, words: Words) -> str:
    return " ".join(
        f"{_lexeme(part_nid, word)}:{','.join(map(str, places))}" for word, places in words.items()
    )


def _tsquery(part_nid: int, phrases: Sequence[Phrase], *, beginnings: bool) -> str:
    return "&".join(f"({_phrase(part_nid, phrase, beginnings=beginnings)})" for phrase in phrases)


def _phrase(part_nid: int, phrase: Phrase, *, beginnings: bool) -> str:
    text = ""
    last = 0
    for word in phrase:
        if text:
            text += f"<{word.position - last}>"
        mark = ":*" if word.is_beginning and beginnings else ""
        text += _lexeme(part_nid, word.text) + mark
        last = word.position
    return text


def _lexeme(part_nid: int, word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{part_nid:x}/{quoted}'"
