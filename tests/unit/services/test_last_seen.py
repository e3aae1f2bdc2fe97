import pytest

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.last_seen import LastSeen
from homeserver.storage import accounts, devices
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database
from homeserver.web.params import RequestFacts
from tests.support.clock import FakeClock

ALICE = UserID("@alice:x")
PHONE, TABLET = DeviceID("PHONE"), DeviceID("TABLET")


def request_from(ip: str) -> RequestFacts:
    return RequestFacts(ip=ip, user_agent="agent", request_id="r", listener="l")


@pytest.fixture
async def last_seen(database: Database, clock: FakeClock) -> LastSeen:
    async with database.transaction() as tx:
        await accounts.insert(tx, NewAccountRow(ALICE, 1))
        for device_id in (PHONE, TABLET):
            await devices.add(tx, ALICE, device_id, None, 1)
    return LastSeen(database, clock)


async def seen(database: Database, device_id: DeviceID) -> tuple[int | None, str | None]:
    async with database.connection() as connection:
        row = await devices.device_of(connection, ALICE, device_id)
    assert row is not None
    return row.last_seen_ts, row.last_seen_ip


async def test_nothing_is_written_before_the_background_does(
    database: Database, last_seen: LastSeen, clock: FakeClock
) -> None:
    last_seen.note(ALICE, PHONE, request_from("192.0.2.1"))
    assert await seen(database, PHONE) == (None, None)
    await last_seen.write()
    assert await seen(database, PHONE) == (clock.now_ms(), "192.0.2.1")
    assert await seen(database, TABLET) == (None, None)


async def test_within_a_minute_the_first_sight_counts(
    database: Database, last_seen: LastSeen, clock: FakeClock
) -> None:
    first_ms = clock.now_ms()
    last_seen.note(ALICE, PHONE, request_from("192.0.2.1"))
    clock.tick(59)
    last_seen.note(ALICE, PHONE, request_from("192.0.2.2"))
    await last_seen.write()
    assert await seen(database, PHONE) == (first_ms, "192.0.2.1")
    clock.tick(1)
    last_seen.note(ALICE, PHONE, request_from("192.0.2.3"))
    await last_seen.write()
    assert await seen(database, PHONE) == (first_ms + 60_000, "192.0.2.3")


async def test_an_older_sight_of_another_node_does_not_replace_a_newer_one(
    database: Database, last_seen: LastSeen, clock: FakeClock
) -> None:
    other_node = LastSeen(database, clock)
    other_node.note(ALICE, PHONE, request_from("192.0.2.1"))
    clock.tick(5)
    last_seen.note(ALICE, PHONE, request_from("192.0.2.2"))
    await last_seen.write()
    await other_node.write()
    assert (await seen(database, PHONE))[1] == "192.0.2.2"


async def test_a_device_that_is_gone_does_no_harm(database: Database, last_seen: LastSeen) -> None:
    last_seen.note(ALICE, DeviceID("GONE"), request_from("192.0.2.1"))
    last_seen.note(ALICE, PHONE, request_from("192.0.2.2"))
    await last_seen.write()
    assert (await seen(database, PHONE))[1] == "192.0.2.2"


async def test_many_devices_are_written_in_batches(database: Database, last_seen: LastSeen) -> None:
    for number in range(1500):
        last_seen.note(ALICE, DeviceID(f"D{number}"), request_from("192.0.2.1"))
    last_seen.note(ALICE, TABLET, request_from("192.0.2.2"))
    await last_seen.write()
    assert (await seen(database, TABLET))[1] == "192.0.2.2"
