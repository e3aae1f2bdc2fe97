"""Very many messages, written straight into the tables: for what only reads them."""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from homeserver.storage.database import Connection, Database

# Words are as frequent as in speech: the n-th one 1/n as often as the first.
VOCABULARY: Final = 200_000
_WORDS_OF_A_MESSAGE: Final = 10
_SENDERS: Final = 50
_START_MS: Final = 1_600_000_000_000
_COLUMNS: Final = (
    "event_nid", "event_id", "room_nid", "pos", "depth", "type", "sender", "origin_server_ts",
    "auth_nids", "core", "rest",
)  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


def vocabulary(seed: int = 1) -> list[str]:
    """Return made-up words, the most frequent first; frequent ones are short."""
    chance = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 2 + len(words).bit_length() // 3 + chance.randrange(3)
        words["".join(chance.choices("aeiounrstlmkdgpbvhfz", k=length))] = None
    return list(words)


async def write_messages(
    database: Database, rooms: Sequence[int], shares: Sequence[float], count: int, seed: int = 2
) -> range:
    """Put messages behind everything in the log; return the numbers of the events.

    A room gets its share of them.
    """
    async with database.dedicated() as connection:
        head = await connection.fetchval("SELECT pos FROM log_head")
        first = await connection.fetchval("SELECT max(event_nid) FROM events") + 1_000_000
        nids = range(first, first + count)
        rows = _rows(nids, head, rooms, shares, random.Random(seed))
        await connection.copy_records_to_table("events", records=rows, columns=_COLUMNS)
        await connection.execute("SELECT setval('event_nids', $1)", nids.stop)
        await connection.execute("UPDATE log_head SET pos = $1", head + count)
        await _settle(connection)
    return nids


async def _settle(connection: Connection) -> None:
    await connection.execute("ANALYZE events")
    await connection.execute("CHECKPOINT")


def _rows(
    nids: range,
    head: int,
    rooms: Sequence[int],
    shares: Sequence[float],
    chance: random.Random,
) -> Iterator[tuple[object, ...]]:
    words = vocabulary()
    word_weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    room_weights = list(accumulate(shares))
    for number, nid in enumerate(nids, 1):
        length = 1 + int(chance.expovariate(1 / _WORDS_OF_A_MESSAGE))
        body = " ".join(chance.choices(words, cum_weights=word_weights, k=length))
        sender = f"@sender{chance.randrange(_SENDERS)}:localhost"
        ts = _START_MS + number * 1_000
        core = {
            "content": {"body": body, "msgtype": "m.text"},
            "origin_server_ts": ts,
            "sender": sender,
            "type": "m.room.message",
        }
        yield (
            nid,
            f"$message{nid}",
            chance.choices(rooms, cum_weights=room_weights)[0],
            head + number,
            100 + number,
            "m.room.message",
            sender,
            ts,
            [],
            _encode(core),
            b"{}",
        )
