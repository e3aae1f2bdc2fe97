"""Accounts, devices and tokens against a real PostgreSQL."""

import asyncpg
import pytest

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage import (
    access_tokens,
    accounts,
    devices,
    log,
    login_tokens,
    refresh_tokens,
    registration_tokens,
    uia_sessions,
)
from homeserver.storage.access_tokens import NewAccessToken
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database
from homeserver.storage.devices import RemovedDevice
from homeserver.storage.refresh_tokens import NewRefreshToken
from homeserver.storage.uia_sessions import NewUiaSession

ALICE, BOB = UserID("@alice:x"), UserID("@bob:x")
PHONE, TABLET = DeviceID("PHONE"), DeviceID("TABLET")


@pytest.fixture
async def users(database: Database) -> Database:
    """A database with Alice, who has two devices, and Bob, who has one of the same ID."""
    async with database.transaction() as tx:
        for user_id in (ALICE, BOB):
            assert await accounts.insert(tx, NewAccountRow(user_id, 1, "hash"))
        for user_id, device_id in [(ALICE, PHONE), (ALICE, TABLET), (BOB, PHONE)]:
            assert await devices.add(tx, user_id, device_id, "name", 1)
    return database


async def token_hashes(database: Database) -> set[bytes]:
    async with database.connection() as connection:
        return {row[0] for row in await connection.fetch("SELECT token_hash FROM access_tokens")}


async def test_an_account_is_made_once(users: Database) -> None:
    async with users.transaction() as tx:
        assert not await accounts.insert(tx, NewAccountRow(ALICE, 2, "other"))
        account = await accounts.account_of(tx, ALICE)
    assert account is not None
    assert (account.created_ts, account.password_hash) == (1, "hash")


async def test_a_new_hash_of_the_same_password_does_not_undo_a_change(users: Database) -> None:
    async with users.transaction() as tx:
        await accounts.set_password(tx, ALICE, "changed")
        await accounts.rehash_password(tx, ALICE, "hash", "rehashed")
        account = await accounts.account_of(tx, ALICE)
    assert account is not None
    assert account.password_hash == "changed"


async def test_only_active_accounts_get_passwords_and_only_guests_are_upgraded(
    users: Database,
) -> None:
    async with users.transaction() as tx:
        assert not await accounts.upgrade_guest(tx, ALICE, "x")
        assert await accounts.deactivate(tx, ALICE, 5, is_erased=True)
        assert not await accounts.set_password(tx, ALICE, "x")
        assert not await accounts.set_password(tx, UserID("@nobody:x"), "x")
        assert await accounts.leaving_users(tx, 10) == [ALICE]
        await accounts.mark_left(tx, ALICE)
        assert await accounts.leaving_users(tx, 10) == []


async def test_a_device_is_added_once_and_keeps_its_name(users: Database) -> None:
    async with users.transaction() as tx:
        assert not await devices.add(tx, ALICE, PHONE, "other", 9)
        device = await devices.device_of(tx, ALICE, PHONE)
    assert device is not None
    assert (device.display_name, device.created_ts) == ("name", 1)


async def test_a_device_goes_with_its_tokens_and_only_its_own(users: Database) -> None:
    async with users.transaction() as tx:
        for token_hash, user_id, device_id in [
            (b"1", ALICE, PHONE),
            (b"2", ALICE, TABLET),
            (b"3", BOB, PHONE),
        ]:
            refresh_nid = await refresh_tokens.insert(
                tx, NewRefreshToken(b"r" + token_hash, user_id, device_id, 1, None)
            )
            await access_tokens.insert(
                tx, NewAccessToken(token_hash, user_id, device_id, 1, None, refresh_nid)
            )
        await access_tokens.insert(tx, NewAccessToken(b"4", ALICE, None, 1, None))
        assert await devices.delete(tx, ALICE, [PHONE, "NOTHING"]) == [
            RemovedDevice(PHONE, had_keys=False)
        ]
    assert await token_hashes(users) == {b"2", b"3", b"4"}
    async with users.connection() as connection:
        assert await refresh_tokens.owner_of(connection, b"r1") is None
        assert await refresh_tokens.owner_of(connection, b"r3") == BOB


async def test_all_devices_but_one(users: Database) -> None:
    async with users.transaction() as tx:
        assert await devices.delete_all(tx, ALICE, except_device_id=TABLET) == [
            RemovedDevice(PHONE, had_keys=False)
        ]
        assert await devices.delete_all(tx, ALICE) == [RemovedDevice(TABLET, had_keys=False)]
        assert [device.device_id for device in await devices.devices_of(tx, BOB)] == [PHONE]


async def test_tokens_without_a_device_but_one(users: Database) -> None:
    async with users.transaction() as tx:
        for token_hash in (b"1", b"2"):
            await access_tokens.insert(tx, NewAccessToken(token_hash, ALICE, None, 1, None))
        await access_tokens.insert(tx, NewAccessToken(b"3", ALICE, PHONE, 1, None))
        kept = await access_tokens.token_of(tx, b"2")
        assert kept is not None
        await access_tokens.delete_without_device(tx, ALICE, except_nid=kept.token_nid)
    assert await token_hashes(users) == {b"2", b"3"}


async def test_no_token_belongs_to_a_device_that_does_not_exist(users: Database) -> None:
    async with users.connection() as connection:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await access_tokens.insert(connection, NewAccessToken(b"1", BOB, TABLET, 1, None))


async def test_the_token_of_a_deactivated_account_is_unknown(users: Database) -> None:
    async with users.transaction() as tx:
        await access_tokens.insert(tx, NewAccessToken(b"1", ALICE, PHONE, 1, None))
        await accounts.deactivate(tx, ALICE, 5, is_erased=False)
        assert await access_tokens.token_of(tx, b"1") is None


async def test_a_login_token_is_taken_once_and_in_time(users: Database) -> None:
    async with users.transaction() as tx:
        await login_tokens.insert(tx, b"1", ALICE, 100)
        await login_tokens.insert(tx, b"2", ALICE, 100)
        assert await login_tokens.take(tx, b"1", 100) is None
        assert await login_tokens.take(tx, b"1", 99) == ALICE
        assert await login_tokens.take(tx, b"1", 99) is None
        await login_tokens.delete_expired(tx, 99)
        assert await login_tokens.take(tx, b"2", 99) == ALICE


async def test_expired_login_tokens_are_deleted(users: Database) -> None:
    async with users.transaction() as tx:
        await login_tokens.insert(tx, b"1", ALICE, 100)
        await login_tokens.delete_expired(tx, 100)
        assert await tx.fetchval("SELECT count(*) FROM login_tokens") == 0


async def test_stages_are_read_in_the_order_of_their_completion(database: Database) -> None:
    async with database.transaction() as tx:
        await uia_sessions.insert(tx, NewUiaSession(b"s", "register", None, "[]", 100, None))
        assert await uia_sessions.lock_session(tx, b"s")
        for stage, proof in [("z", "1"), ("a", "2"), ("z", "again")]:
            await uia_sessions.complete_stage(tx, b"s", stage, proof)
        session = await uia_sessions.session_of(tx, b"s", 99)
        assert session is not None
        assert session.completed == (("z", "1"), ("a", "2"))
        assert await uia_sessions.session_of(tx, b"s", 100) is None
        assert not await uia_sessions.lock_session(tx, b"unknown")


async def test_a_session_is_shortened_and_never_prolonged(database: Database) -> None:
    async with database.transaction() as tx:
        await uia_sessions.insert(tx, NewUiaSession(b"s", "register", None, "[]", 100, None))
        await uia_sessions.shorten(tx, b"s", 50)
        await uia_sessions.shorten(tx, b"s", 80)
        assert await uia_sessions.session_of(tx, b"s", 49) is not None
        assert await uia_sessions.session_of(tx, b"s", 50) is None


async def test_only_live_sessions_without_an_account_keep_uses_of_a_token(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        for session_hash, expires_ts in [(b"1", 100), (b"2", 100), (b"3", 10)]:
            await uia_sessions.insert(
                tx, NewUiaSession(session_hash, "register", None, "[]", expires_ts, None)
            )
            await uia_sessions.complete_stage(tx, session_hash, "m.login.registration_token", "abc")
        await uia_sessions.complete_stage(tx, b"1", "m.login.terms", "abc")
        assert await registration_tokens.pending_uses(tx, "abc", 50) == 2
        await uia_sessions.set_registered(tx, b"1", ALICE, PHONE)
        assert await registration_tokens.pending_uses(tx, "abc", 50) == 1
        assert await registration_tokens.pending_uses(tx, "other", 50) == 0


async def test_a_deleted_registration_token_is_gone(database: Database) -> None:
    async with database.transaction() as tx:
        assert await registration_tokens.insert(tx, "abc", 1, uses_allowed=None, expires_ts=None)
        assert await registration_tokens.delete(tx, "abc")
        assert not await registration_tokens.delete(tx, "abc")
        await registration_tokens.complete_use(tx, "abc")
        assert await registration_tokens.token_of(tx, "abc") is None


async def test_many_changes_of_a_user_take_as_many_positions(database: Database) -> None:
    async with database.transaction() as tx:
        before = await log.head(tx)
        last = await log.append_user_changes(
            tx, ALICE, [("tokens_revoked", None), ("device_changed", PHONE)]
        )
        assert last == before + 2
        changes = await log.user_changes_after(tx, before, last)
    assert [(each.pos - before, each.kind, each.device_id) for each in changes] == [
        (1, "tokens_revoked", None),
        (2, "device_changed", PHONE),
    ]
