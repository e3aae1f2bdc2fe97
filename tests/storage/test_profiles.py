"""Profiles against a real PostgreSQL."""

import asyncio

import asyncpg
import pytest

from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.identifiers import UserID
from homeserver.storage import accounts, profiles
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database

ALICE, BOB, NOBODY = UserID("@alice:x"), UserID("@bob:x"), UserID("@nobody:x")


@pytest.fixture
async def users(database: Database) -> Database:
    """A database with Alice and Bob."""
    async with database.transaction() as tx:
        for user_id in (ALICE, BOB):
            assert await accounts.insert(tx, NewAccountRow(user_id, 1))
    return database


async def test_fields_are_those_of_one_user(users: Database) -> None:
    async with users.transaction() as tx:
        await profiles.put(tx, ALICE, "a", b"1")
        await profiles.put(tx, ALICE, "a", b"2")
        await profiles.put(tx, ALICE, "b", b"3")
        await profiles.put(tx, BOB, "a", b"4")
        assert await profiles.fields_of(tx, ALICE) == {"a": b"2", "b": b"3"}
        assert await profiles.fields_among(tx, ALICE, ["b", "c"]) == {"b": b"3"}
        await profiles.delete(tx, ALICE, "a")
        assert await profiles.fields_of(tx, ALICE) == {"b": b"3"}
        await profiles.delete_all(tx, ALICE)
        assert await profiles.fields_of(tx, ALICE) == {}
        assert await profiles.fields_of(tx, BOB) == {"a": b"4"}


async def test_who_is_no_active_user_has_no_profile(users: Database) -> None:
    async with users.transaction() as tx:
        assert await profiles.fields_of(tx, NOBODY) is None
        assert not await profiles.lock(tx, NOBODY)
        assert await profiles.lock(tx, ALICE)
        await accounts.deactivate(tx, ALICE, 1, is_erased=False)
        assert await profiles.fields_of(tx, ALICE) is None
        assert not await profiles.lock(tx, ALICE)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with users.transaction() as tx:
            await profiles.put(tx, NOBODY, "a", b"1")


@pytest.mark.parametrize(
    "profile",
    [{}, {"a": "é"}, {"a": 1, "b.c": [None, {"d": "\0"}]}, {f"a{n}": n for n in range(20)}],
)
async def test_the_size_is_that_of_the_canonical_json(
    users: Database, profile: dict[str, object]
) -> None:
    async with users.transaction() as tx:
        for name, value in profile.items():
            await profiles.put(tx, ALICE, name, encode_canonical(value))
        assert await profiles.size_of(tx, ALICE) == len(encode_canonical(profile))


async def test_one_at_a_time_changes_a_profile(users: Database) -> None:
    async def count() -> None:
        async with users.transaction() as tx:
            assert await profiles.lock(tx, ALICE)
            fields = await profiles.fields_among(tx, ALICE, ["count"])
            await profiles.put(tx, ALICE, "count", b"%d" % (int(fields.get("count", b"0")) + 1))

    await asyncio.gather(*(count() for _ in range(20)))
    async with users.connection() as connection:
        assert await profiles.fields_of(connection, ALICE) == {"count": b"20"}
