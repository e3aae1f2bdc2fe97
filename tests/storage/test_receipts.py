"""Spec: client-server-api/#receipts, client-server-api/#marking-notifications-as-read"""

import asyncio

import pytest

from homeserver.storage import log, receipts
from homeserver.storage.database import Database
from homeserver.storage.receipts import PRIVATE, PUBLIC, ReceiptRow, ReceiptWrite

ROOM, OTHER_ROOM = 1, 2
ALICE, BOB = "@alice:hs", "@bob:hs"


@pytest.fixture
async def timeline(database: Database) -> Database:
    """Events 1 to 9 at their positions; 5 and 7 are in the thread of 4; two are backfilled."""
    async with database.transaction() as tx:
        for nid in range(1, 10):
            thread_nid = 4 if nid in (5, 7) else None
            notify_seq = {5: 1, 7: 2}.get(nid, nid * 10)
            await tx.execute(_INSERT, nid, f"${nid}", ROOM, nid, 0, thread_nid, notify_seq, nid)
        await tx.execute(_INSERT, 11, "$11", ROOM, 6, -2, None, 0, 0)
        await tx.execute(_INSERT, 12, "$12", ROOM, 6, -1, None, 0, 0)
        await tx.execute("UPDATE log_head SET pos = 100")
    return database


_INSERT = """
    INSERT INTO events (event_nid, event_id, room_nid, pos, sub, depth, type, sender,
                        origin_server_ts, thread_nid, notify_seq, highlight_seq, auth_nids, core,
                        rest)
    VALUES ($1, $2, $3, $4, $5, 1, 'm.room.message', '@x:hs', 0, $6, $7, $8, '{}', '', '')
"""


def receipt(
    event: int | None,
    *,
    by: str = ALICE,
    room: int = ROOM,
    kind: str = PUBLIC,
    thread: str = "",
    sub: int = 0,
    thread_nid: int | None = None,
    ts: int = 1_000,
    counts: bool = True,
    seqs: tuple[int, int] | tuple[None, None] = (None, None),
) -> ReceiptWrite:
    """Return a receipt for the event at position `event`; None for one that nobody knows."""
    event_id = "$unknown" if event is None else f"${event}"
    return ReceiptWrite(room, kind, by, thread, event_id, event, sub, thread_nid, ts, counts, *seqs)


async def append(database: Database, *writes: ReceiptWrite) -> list[tuple[int, int]]:
    """Append a batch; return the places in it and the positions of what was written."""
    async with database.connection() as connection:
        appended = await receipts.append_receipts(connection, writes)
        assert await log.head(connection) == appended.upto
    assert appended.upto - appended.base_pos >= len(appended.written)
    return [(written.place, written.pos) for written in appended.written]


async def stored(database: Database) -> dict[tuple[str, str, str], str]:
    """Return the events of all receipts, by user, type and thread."""
    async with database.connection() as connection:
        rows = await receipts.receipts_after(connection, 0, 10_000)
    return {(row.user_id, row.receipt_type, row.thread_id): row.event_id for row in rows}


async def read_up_to(database: Database, thread: str = "", by: str = ALICE) -> tuple[int, ...]:
    """Return the position that a user has read up to, and the counts there."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT read_pos, notify_seq, highlight_seq FROM read_counters
            WHERE user_id = $1 AND room_nid = $2 AND thread_id = $3
            """,
            by,
            ROOM,
            thread,
        )
    return tuple(row) if row else ()


async def test_receipts_go_forward_only(timeline):
    assert await append(timeline, receipt(3)) == [(0, 101)]
    assert await append(timeline, receipt(5)) == [(0, 102)]
    for event in (3, 5):
        assert await append(timeline, receipt(event)) == []
    assert await stored(timeline) == {(ALICE, PUBLIC, ""): "$5"}
    async with timeline.connection() as connection:
        assert await log.head(connection) == 102, "what does not move takes no position"


async def test_backfilled_events_stand_before_the_live_one_of_their_position(timeline):
    places = [(6, -2), (6, -1), (6, 0)]
    for number, (pos, sub) in enumerate(places):
        for back_pos, back_sub in places[:number]:
            assert await append(timeline, receipt(back_pos, sub=back_sub)) == []
        assert len(await append(timeline, receipt(pos, sub=sub))) == 1


async def test_types_threads_rooms_and_users_have_receipts_of_their_own(timeline):
    different = [
        receipt(5),
        receipt(4, kind=PRIVATE),
        receipt(3, thread="main"),
        receipt(2, thread="$4", thread_nid=4),
        receipt(1, by=BOB),
        receipt(1, room=OTHER_ROOM),
    ]
    assert await append(timeline, *different) == [(n, 101 + n) for n in range(6)]


async def test_of_one_batch_the_furthest_receipt_is_kept(timeline):
    batch = [receipt(3), receipt(8), receipt(5), receipt(2, by=BOB), receipt(8)]
    assert await append(timeline, *batch) == [(3, 101), (4, 102)]
    assert await stored(timeline) == {(ALICE, PUBLIC, ""): "$8", (BOB, PUBLIC, ""): "$2"}


async def test_an_event_that_is_not_known_yet_is_thought_to_be_new(timeline):
    await append(timeline, receipt(9, counts=False))
    assert len(await append(timeline, receipt(None, counts=False))) == 1
    assert await stored(timeline) == {(ALICE, PUBLIC, ""): "$unknown"}
    assert len(await append(timeline, receipt(2, counts=False))) == 1
    batch = [receipt(4, counts=False), receipt(None, counts=False), receipt(5, counts=False)]
    assert [place for place, _ in await append(timeline, *batch)] == [1]


async def test_what_is_read_is_counted_where_the_writer_knows_the_counts(timeline):
    await append(timeline, receipt(3, seqs=(30, 3)))
    assert await read_up_to(timeline) == (3, 30, 3)


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (receipt(3), (3, 30, 3)),
        (receipt(5), (5, 40, 4)),
        (receipt(5, thread="$4", thread_nid=4), (5, 1, 5)),
        (receipt(6, thread="$4", thread_nid=4), (6, 1, 5)),
        (receipt(4, thread="$4", thread_nid=4), (4, 0, 0)),
        (receipt(8, thread="main"), (8, 80, 8)),
        (receipt(6, sub=-2), (5, 40, 4)),
    ],
    ids=["main", "over thread", "thread", "between", "root", "main timeline", "backfilled"],
)
async def test_the_counts_of_what_is_read_are_looked_up(timeline, write, read):
    await append(timeline, write)
    assert await read_up_to(timeline, write.thread_id) == read


async def test_the_public_or_the_private_receipt_counts_whichever_is_ahead(timeline):
    await append(timeline, receipt(6, kind=PRIVATE), receipt(8))
    assert await read_up_to(timeline) == (8, 80, 8)
    assert len(await append(timeline, receipt(7, kind=PRIVATE))) == 1
    assert await read_up_to(timeline) == (8, 80, 8)
    await append(timeline, receipt(9, kind=PRIVATE))
    assert await read_up_to(timeline) == (9, 90, 9)


async def test_receipts_of_users_elsewhere_count_nothing(timeline):
    assert len(await append(timeline, receipt(5, counts=False))) == 1
    assert await read_up_to(timeline) == ()


async def test_concurrent_writers_never_go_back(timeline):
    async def write(event: int) -> None:
        async with timeline.connection() as connection:
            await receipts.append_receipts(connection, [receipt(event), receipt(event, by=BOB)])

    await asyncio.gather(*(write(event) for event in [3, 9, 1, 8, 2, 7, 4, 6, 5] * 3))
    assert set((await stored(timeline)).values()) == {"$9"}
    assert await read_up_to(timeline) == (9, 90, 9)


async def test_an_empty_batch_changes_nothing(timeline):
    assert await append(timeline) == []


async def test_private_receipts_are_read_for_their_own_user_only(timeline):
    await append(timeline, receipt(1), receipt(2, kind=PRIVATE), receipt(3, by=BOB, kind=PRIVATE))
    await append(timeline, receipt(1, room=OTHER_ROOM))
    async with timeline.connection() as connection:
        new = await receipts.new_receipts(connection, ALICE, [ROOM], 100, 103)
        later = await receipts.new_receipts(connection, ALICE, [ROOM], 101, 102)
        every = await receipts.newest_receipts(connection, ALICE, [ROOM], 103, 10)
    assert [row.event_id for row in new] == ["$1", "$2"]
    assert later == [ReceiptRow(102, ROOM, ALICE, PRIVATE, "", "$2", 1_000)]
    assert every == new


async def test_of_many_receipts_the_newest_and_all_own_ones_are_read(timeline):
    others = [receipt(1, by=f"@u{n}:hs") for n in range(5)]
    await append(timeline, receipt(1), receipt(1, thread="main"), *others)
    async with timeline.connection() as connection:
        rows = await receipts.newest_receipts(connection, ALICE, [ROOM, OTHER_ROOM], 10_000, 2)
    assert [row.user_id for row in rows] == [ALICE, ALICE, "@u3:hs", "@u4:hs"]


async def test_an_event_has_to_do_with_its_thread(timeline):
    async with timeline.transaction() as tx:
        await tx.execute(
            """
            INSERT INTO threads (room_nid, thread_nid, latest_nid, latest_pos, replies, newest_pos,
                                 notify_seq, highlight_seq)
            VALUES (1, 4, 7, 7, 2, 7, 2, 0)
            """
        )
        # 6 is a reaction to 2, which is one to the root; 8 to 6, 9 to 8: that is too far.
        for child, parent in ((2, 4), (6, 2), (8, 6), (9, 8)):
            await tx.execute(
                """
                INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, sender, type)
                VALUES ($1, 1, $2, 'm.annotation', '@x:hs', 'm.reaction')
                """,
                child,
                f"${parent}",
            )
    async with timeline.connection() as connection:
        found = {
            nid: await receipts.thread_with(connection, ROOM, "$4", f"${nid}")
            for nid in range(1, 10)
        }
        assert {nid for nid, thread_nid in found.items() if thread_nid == 4} == {2, 4, 5, 6, 7, 8}
        assert await receipts.thread_with(connection, ROOM, "$3", "$3") is None
        assert await receipts.thread_with(connection, OTHER_ROOM, "$4", "$4") is None
        assert await receipts.is_thread(connection, ROOM, "$4")
        assert not await receipts.is_thread(connection, ROOM, "$5")
        assert not await receipts.is_thread(connection, OTHER_ROOM, "$4")
