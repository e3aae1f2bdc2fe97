"""Who is typing, on nodes that tell each other. Spec: client-server-api/#typing-notifications"""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from homeserver.protocol.identifiers import UserID
from homeserver.streams.ephemeral import TypingChange, TypingUsers
from homeserver.streams.notifier import Notifier
from tests.streams.nodes import StreamNode
from tests.support.clock import FakeClock

ALICE, BOB = UserID("@alice:hs"), UserID("@bob:hs")
ROOM, OTHER_ROOM = 1, 2


class Wire:
    """A bus whose messages reach everybody at once, the sender too, unless it is cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self.messages: list[bytes] = []
        self._told: list[Callable[[bytes], None]] = []

    def announce(self, position: int) -> None:
        pass

    def tell(self, message: bytes) -> None:
        self.messages.append(message)
        if not self.is_cut:
            for told in self._told:
                told(message)

    async def start(self, heard: Callable[[int], None], told: Callable[[bytes], None]) -> None:
        self._told.append(told)

    async def stop(self) -> None:
        pass


class TypingNode:
    """One node's knowledge, and what it tells other servers."""

    def __init__(self, node: StreamNode, wire: Wire, clock: FakeClock, name: str) -> None:
        self.notifier = Notifier(node.tail)
        self.users = TypingUsers(node.tail, self.notifier, wire, clock, node_id=name)
        self.told: list[TypingChange] = []
        self.users.follow(self.told.append)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def here(node: StreamNode, wire: Wire, clock: FakeClock) -> TypingNode:
    started = TypingNode(node, wire, clock, "here")
    await wire.start(lambda _: None, started.users.heard)
    return started


@pytest.fixture
async def there(other: StreamNode, wire: Wire, clock: FakeClock) -> TypingNode:
    started = TypingNode(other, wire, clock, "there")
    await wire.start(lambda _: None, started.users.heard)
    return started


def started(user_id: UserID = ALICE) -> TypingChange:
    return TypingChange(ROOM, user_id, is_typing=True)


def stopped(user_id: UserID = ALICE) -> TypingChange:
    return TypingChange(ROOM, user_id, is_typing=False)


async def test_who_types_is_known_on_every_node_until_they_stop(
    here: TypingNode, there: TypingNode
) -> None:
    here.users.start(ROOM, BOB, 5_000)
    there.users.start(ROOM, ALICE, 5_000)
    here.users.start(OTHER_ROOM, ALICE, 5_000)
    for node in (here, there):
        assert node.users.rooms == {ROOM: (ALICE, BOB), OTHER_ROOM: (ALICE,)}
    there.users.stop(ROOM, BOB)
    here.users.stop(OTHER_ROOM, ALICE)
    for node in (here, there):
        assert node.users.rooms == {ROOM: (ALICE,)}


async def test_who_does_not_say_so_again_is_not_typing_any_more(
    here: TypingNode, there: TypingNode, clock: FakeClock
) -> None:
    here.users.start(ROOM, ALICE, 5_000)
    here.users.start(ROOM, BOB, 5_000)
    clock.tick(4.9)
    here.users.start(ROOM, BOB, 5_000)
    for node in (here, there):
        await node.users.expire()
        assert node.users.rooms == {ROOM: (ALICE, BOB)}
    clock.tick(0.1)
    for node in (here, there):
        await node.users.expire()
        assert node.users.rooms == {ROOM: (BOB,)}
    clock.tick(4.9)
    for node in (here, there):
        await node.users.expire()
        assert node.users.rooms == {}


async def test_without_the_bus_each_node_knows_its_own(
    here: TypingNode, there: TypingNode, wire: Wire
) -> None:
    wire.is_cut = True
    here.users.start(ROOM, ALICE, 5_000)
    assert there.users.rooms == {}
    there.users.stop(ROOM, ALICE)
    assert here.users.rooms == {ROOM: (ALICE,)}


async def test_every_change_and_nothing_else_wakes_the_room_and_moves_the_serial(
    here: TypingNode, there: TypingNode, clock: FakeClock
) -> None:
    async def is_told_of(change: Callable[[], None]) -> bool:
        waiter, serial = there.notifier.begin_waiting(BOB, [ROOM]), there.users.serial
        change()
        await there.users.expire()
        there.notifier.end_waiting(waiter)
        assert waiter.future.done() == (there.users.serial > serial)
        return waiter.future.done()

    assert await is_told_of(lambda: here.users.start(ROOM, ALICE, 5_000))
    assert not await is_told_of(lambda: here.users.start(ROOM, ALICE, 9_000))
    assert await is_told_of(lambda: there.users.start(ROOM, BOB, 5_000))
    assert await is_told_of(lambda: here.users.stop(ROOM, ALICE))
    assert not await is_told_of(lambda: here.users.stop(ROOM, ALICE))
    assert await is_told_of(lambda: clock.tick(5))
    assert not await is_told_of(lambda: clock.tick(5))


async def test_one_node_tells_other_servers(
    here: TypingNode, there: TypingNode, clock: FakeClock
) -> None:
    here.users.start(ROOM, ALICE, 5_000)
    here.users.start(ROOM, ALICE, 5_000)
    here.users.stop(ROOM, ALICE)
    here.users.stop(ROOM, ALICE)
    assert here.told == [started(), started(), stopped()]
    here.users.start(ROOM, ALICE, 5_000)
    clock.tick(5)
    for node in (here, there):
        await node.users.expire()
    assert here.told[3:] == [started(), stopped()]
    assert there.told == []


async def test_it_is_for_the_node_of_the_last_request_to_tell_other_servers(
    here: TypingNode, there: TypingNode, clock: FakeClock
) -> None:
    here.users.start(ROOM, ALICE, 5_000)
    there.users.start(ROOM, ALICE, 5_000)
    clock.tick(5)
    for node in (here, there):
        await node.users.expire()
    assert (here.told, there.told) == ([started()], [started(), stopped()])


async def test_a_message_that_comes_back_late_changes_nothing(here: TypingNode, wire: Wire) -> None:
    here.users.start(ROOM, ALICE, 5_000)
    here.users.stop(ROOM, ALICE)
    here.users.heard(wire.messages[0])
    assert here.users.rooms == {}


@pytest.mark.parametrize("message", [b"", b"{}", b"[1,2,3,4]", b'["a",1,"@a:hs","x"]', b"\xff"])
async def test_what_no_node_says_is_passed_over(here: TypingNode, message: bytes) -> None:
    with capture_logs() as logs:
        here.users.heard(message)
    assert [entry["event"] for entry in logs] == ["message on the bus is not understood"]
    assert here.users.rooms == {}
