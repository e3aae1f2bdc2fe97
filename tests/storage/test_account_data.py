"""Spec: client-server-api/#client-config"""

import asyncio

import pytest

from homeserver.storage import account_data, log
from homeserver.storage.account_data import GLOBAL, AccountDataRow, AccountDataUsage
from homeserver.storage.database import Database, Transaction

ALICE, BOB = "@alice:hs.example", "@bob:hs.example"
ROOM, OTHER = 7, 8
IGNORED = "m.ignored_user_list"


async def put(database, event_type, content=b'{"n":1}', *, user_id=ALICE, room_nid=GLOBAL, **more):
    async with database.transaction() as tx:
        return await account_data.put(tx, user_id, room_nid, event_type, content, **more)


async def test_every_change_takes_the_next_position_of_the_log(database):
    async with database.connection() as connection:
        before = await log.head(connection)
        positions = [await put(database, "a"), await put(database, "a"), await put(database, "b")]
        assert positions == [before + 1, before + 2, before + 3]
        assert await log.head(connection) == positions[-1]


async def test_an_entry_is_one_of_a_user_a_room_and_a_type(database):
    await put(database, "a", b'{"n":1}')
    await put(database, "a", b'{"n":2}', room_nid=ROOM)
    await put(database, "a", b'{"n":3}', user_id=BOB)
    await put(database, "b", b'{"n":4}')
    await put(database, "a", b'{"n":5}')
    async with database.connection() as connection:
        found = {
            place: (await account_data.entry_of(connection, *place)).content
            for place in [(ALICE, GLOBAL, "a"), (ALICE, ROOM, "a"), (BOB, GLOBAL, "a")]
        }
        assert list(found.values()) == [b'{"n":5}', b'{"n":2}', b'{"n":3}']
        assert await account_data.entry_of(connection, BOB, ROOM, "a") is None


async def test_changes_are_read_in_the_order_in_which_they_were_made(database):
    since = await put(database, "old")
    await put(database, "a", b'{"n":1}')
    await put(database, "b", b'{"n":1}', room_nid=ROOM)
    await put(database, "a", b"{}", is_deleted=True)
    await put(database, "c", user_id=BOB)
    async with database.connection() as connection:
        changed = await account_data.changed_after(connection, ALICE, since)
    assert changed == [
        AccountDataRow(ROOM, "b", b'{"n":1}', is_deleted=False),
        AccountDataRow(GLOBAL, "a", b"{}", is_deleted=True),
    ]


async def test_of_what_was_deleted_only_the_latest_is_told(database):
    await put(database, "gone", b"{}", room_nid=ROOM, is_deleted=True)
    since = await put(database, "kept", room_nid=ROOM)
    await put(database, "going", b"{}", room_nid=OTHER, is_deleted=True)
    async with database.connection() as connection:
        told = await account_data.of_rooms(connection, ALICE, [ROOM, OTHER, 9], deleted_after=since)
        assert [row.type for row in told] == ["kept", "going"]
        here = await account_data.of_rooms(connection, ALICE, [ROOM], deleted_after=0)
        assert [row.type for row in here] == ["gone", "kept"]


async def test_usage_counts_everything_that_a_user_keeps(database):
    async with database.connection() as connection:
        assert await account_data.usage_of(connection, ALICE) == AccountDataUsage(0, 0)
        await put(database, "a", b"12345")
        await put(database, "a", b"123", room_nid=ROOM)
        await put(database, "b", b"{}", is_deleted=True)
        await put(database, "a", b"1", user_id=BOB)
        assert await account_data.usage_of(connection, ALICE) == AccountDataUsage(3, 10)


async def test_the_lists_of_ignored_users_are_read_for_many_users(database):
    await put(database, IGNORED, b"1")
    await put(database, IGNORED, b"2", user_id=BOB)
    await put(database, IGNORED, b"{}", user_id="@gone:hs.example", is_deleted=True)
    await put(database, IGNORED, b"3", user_id="@room:hs.example", room_nid=ROOM)
    await put(database, "other", b"4", user_id="@other:hs.example")
    asked = [ALICE, "@gone:hs.example", "@room:hs.example", "@other:hs.example", "@none:hs.example"]
    async with database.connection() as connection:
        assert await account_data.ignored_user_lists(connection, asked) == {ALICE: b"1"}


@pytest.mark.parametrize("same_user", [True, False])
async def test_changes_of_one_user_wait_for_each_other(database: Database, *, same_user: bool):
    other = ALICE if same_user else BOB
    waiting = asyncio.Event()

    async def wait_for_the_lock() -> None:
        async with database.transaction() as tx:
            waiting.set()
            await account_data.lock(tx, other)

    async with database.transaction() as tx:
        await account_data.lock(tx, ALICE)
        second = asyncio.ensure_future(wait_for_the_lock())
        await waiting.wait()
        if same_user:
            await _is_blocked(tx)
            assert not second.done()
        else:
            await second
    await second


async def _is_blocked(tx: Transaction) -> None:
    """Wait until PostgreSQL says that somebody waits for an advisory lock."""
    while not await tx.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ):
        pass
