"""Spec: client-server-api/#push-rules"""

from homeserver.storage import account_data, log, push_rules
from homeserver.storage.log import UserChange

ALICE, BOB = "@alice:hs.example", "@bob:hs.example"


async def put(database, rules, user_id=ALICE):
    async with database.transaction() as tx:
        await push_rules.lock(tx, user_id)
        return await push_rules.put(tx, user_id, rules)


async def test_rules_are_replaced_as_a_whole(database):
    async with database.connection() as connection:
        assert await push_rules.rules_of(connection, ALICE) is None
        await put(database, b"1")
        await put(database, b"2")
        assert await push_rules.rules_of(connection, ALICE) == b"2"
        assert await push_rules.rules_of(connection, BOB) is None


async def test_every_change_takes_the_next_position_of_the_log(database):
    first = await put(database, b"1")
    assert await put(database, b"1", BOB) == first + 1
    async with database.connection() as connection:
        assert await log.head(connection) == first + 1
        assert await push_rules.have_changed_after(connection, ALICE, first - 1)
        assert not await push_rules.have_changed_after(connection, ALICE, first)
        assert not await push_rules.have_changed_after(connection, "@none:hs.example", 0)


async def test_the_rules_of_many_users_are_read_at_once(database):
    await put(database, b"1")
    await put(database, b"2", BOB)
    await put(database, b"3", "@carol:hs.example")
    async with database.connection() as connection:
        asked = [ALICE, BOB, "@none:hs.example"]
        assert await push_rules.rules_of_users(connection, asked) == {ALICE: b"1", BOB: b"2"}


async def test_changes_of_rules_and_account_data_stand_in_the_log(database):
    async with database.transaction() as tx:
        before = await log.head(tx)
        await account_data.put(tx, ALICE, 7, "m.ignored_user_list", b"{}")
        await account_data.put(tx, ALICE, 0, "m.ignored_user_list", b"{}")
        await log.append_user_change(tx, ALICE, "device_changed", device_id="D")
        await account_data.put(tx, BOB, 0, "m.direct", b"{}")
        await push_rules.put(tx, BOB, b"{}")
        upto = await account_data.put(tx, ALICE, 8, "m.tag", b"{}")
    async with database.connection() as connection:
        changes = await log.user_changes_after(connection, before, upto - 1)
        later = await log.user_changes_after(connection, upto - 1, upto)
    assert changes == [
        UserChange(before + 1, ALICE, "account_data_changed", 7, None),
        UserChange(before + 2, ALICE, "ignored_users_changed", None, None),
        UserChange(before + 3, ALICE, "device_changed", None, "D"),
        UserChange(before + 4, BOB, "account_data_changed", None, None),
        UserChange(before + 5, BOB, "push_rules_changed", None, None),
    ]
    assert later == [UserChange(upto, ALICE, "account_data_changed", 8, None)]
