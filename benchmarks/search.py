"""Searching through very many messages in many rooms, of which the user is in three of ten.

The largest of the user's rooms has a tenth of all messages. The words of the messages are made up
and as frequent as those of speech. A million messages, of which the README tells, take minutes to
write and to index; by default there is a tenth of them.

python -m benchmarks.search [--messages 100000] [--rooms 300] [--searches 60]
python -m benchmarks.search --messages 1000000 --rooms 1000
"""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.support.messages import vocabulary, write_messages
from benchmarks.support.processes import cpu_seconds
from benchmarks.support.report import percentile
from benchmarks.support.server import options, run
from homeserver.protocol.filters import RoomEventFilter
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION
from homeserver.rooms.create import NewRoom
from homeserver.run.search_routes import search_index_of, search_of
from homeserver.services.search_context import ContextRequest
from homeserver.services.search_request import SearchRequest
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.node import Node, running_node, user

BATCH: Final = 1_000
_OWN_SHARE: Final = 0.3


async def measure(
    postgres: EmbeddedPostgres, folder: Path, messages: int, rooms: int, searches: int
) -> None:
    async with running_node(postgres.dsn, folder) as node:
        own = await make_rooms(node, "user0", int(rooms * _OWN_SHARE))
        others = await make_rooms(node, "user1", rooms - len(own))
        every_nid = await nids_of(node, [*own, *others])
        # Half of the messages are in the user's rooms.
        shares = [_share(n) / _sum(len(own)) for n in range(len(own))]
        shares += [_share(n) / _sum(len(others)) for n in range(len(others))]
        nids = await write_messages(node.base.database, every_nid, shares, messages)
        await node.base.tail.reach(await head_of(node))
        await index(node, nids, postgres)
        print(f"  searches of a user in {len(own)} rooms with half of the messages")
        for name, make in kinds(own):
            await ask(node, name, make, searches)


def _share(rank: int) -> float:
    # As rooms are: few are large.
    return 1 / (rank + 1) ** 0.9


def _sum(count: int) -> float:
    return sum(map(_share, range(count)))


async def make_rooms(node: Node, name: str, count: int) -> list[RoomID]:
    room = NewRoom(preset="private_chat", room_version=DEFAULT_ROOM_VERSION)
    # One after the other: two of one creator at one time would be the same room.
    return [await node.rooms.create.create(user(name), room) for _ in range(count)]


async def nids_of(node: Node, room_ids: Sequence[RoomID]) -> list[int]:
    async with node.base.database.connection() as connection:
        rows = await connection.fetch("SELECT room_id, room_nid FROM rooms")
    nids = {row["room_id"]: row["room_nid"] for row in rows}
    return [nids[room_id] for room_id in room_ids]


async def head_of(node: Node) -> int:
    async with node.base.database.connection() as connection:
        head: int = await connection.fetchval("SELECT pos FROM log_head")
    return head


async def index(node: Node, nids: range, postgres: EmbeddedPostgres) -> None:
    """Index all messages as the follower does, and tell what that costs."""
    assert postgres.pid is not None
    search_index = search_index_of(node.base)
    before, started = cpu_seconds(os.getpid(), postgres.pid), time.perf_counter()
    for first in range(nids.start, nids.stop, BATCH):
        await search_index.add_history(range(first, min(first + BATCH, nids.stop)))
    took = time.perf_counter() - started
    used = cpu_seconds(os.getpid(), postgres.pid).since(before)
    per_message = 1_000_000 / len(nids)
    print(
        f"  indexing a message: CPU {used.total * per_message:.0f} µs, of it PostgreSQL"
        f" {used.postgres * per_message:.0f} µs; {len(nids) / took:,.0f} messages/s"
    )
    async with node.base.database.dedicated() as connection:
        await connection.execute("VACUUM ANALYZE search_texts")
        for relation in ("search_texts", "search_texts_words", "search_texts_pkey"):
            size = await connection.fetchval("SELECT pg_table_size($1::regclass)", relation)
            print(f"  {relation:24} {size / len(nids):6.0f} bytes a message")


def kinds(own: Sequence[RoomID]) -> list[tuple[str, Callable[[random.Random], Any]]]:
    words = vocabulary()

    def word(chance: random.Random, first: int, last: int) -> str:
        return words[chance.randrange(first, last)]

    def wish(term: str, **more: Any) -> SearchRequest:
        return SearchRequest(term=term, **more)

    largest = RoomEventFilter(rooms=(own[0],))
    return [
        ("rare word, recent", lambda c: wish(word(c, 50_000, 150_000), order="recent")),
        ("rare word, rank", lambda c: wish(word(c, 50_000, 150_000))),
        ("usual word, recent", lambda c: wish(word(c, 300, 3_000), order="recent")),
        ("usual word, rank", lambda c: wish(word(c, 300, 3_000))),
        ("frequent word, recent", lambda c: wish(word(c, 5, 50), order="recent")),
        ("frequent word, rank", lambda c: wish(word(c, 5, 50))),
        ("most frequent word, recent", lambda c: wish(words[0], order="recent")),
        ("most frequent word, rank", lambda c: wish(words[0])),
        ("two words", lambda c: wish(f"{word(c, 5, 300)} {word(c, 50, 3_000)}")),
        ("two words in a row", lambda c: wish(f'"{word(c, 0, 50)} {word(c, 0, 50)}"')),
        ("beginning of a word", lambda c: wish(word(c, 3_000, 30_000)[:4])),
        (
            "usual word, largest room, recent",
            lambda c: wish(word(c, 300, 3_000), order="recent", filter=largest),
        ),
        (
            "usual word, surroundings",
            lambda c: wish(
                word(c, 300, 3_000), order="recent", context=ContextRequest(include_profile=True)
            ),
        ),
    ]


async def ask(node: Node, name: str, make: Callable[[random.Random], Any], searches: int) -> None:
    """Search as the user does, one search after the other."""
    chance = random.Random(3)
    search, requester = search_of(node.base, node.rooms), user("user0")
    times, found = [], []
    for _ in range(searches):
        request = make(chance)
        started = time.perf_counter()
        page = await search.search(requester, request)
        times.append((time.perf_counter() - started) * 1000)
        found.append(page.total)
    print(
        f"  {name:36} p50 {percentile(times, 50):7.1f} ms   p95 {percentile(times, 95):7.1f} ms"
        f"   {percentile(found, 50):,} found",
        flush=True,
    )


if __name__ == "__main__":
    chosen = options(__doc__, messages=100_000, rooms=300, searches=60)
    folder = Path(tempfile.mkdtemp(prefix="homeserver-bench-"))
    folder.chmod(0o755)  # Started as root, PostgreSQL runs as another user.
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        postgres.start()
        run(measure, postgres, folder, chosen.messages, chosen.rooms, chosen.searches)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
