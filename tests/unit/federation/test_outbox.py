"""What waits for a destination: nothing is lost between memory and the log, nor sent in vain."""

import random

import pytest

from federation.sending.outbox import (
    MAX_AGE_SECONDS,
    MAX_DURABLE,
    MAX_EPHEMERAL,
    Outbox,
    PduItem,
)
from homeserver.protocol.edu import Typing
from homeserver.protocol.identifiers import RoomID, ServerName, UserID


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(ServerName("far.example"))


def typing(is_typing: bool = True) -> Typing:
    return Typing(RoomID("!r:x"), UserID("@a:x"), is_typing)


def fill(outbox: Outbox, *positions: int) -> None:
    for pos in positions:
        outbox.add(PduItem(pos, pos))


def positions(outbox: Outbox) -> list[int]:
    return [item.pos for item in outbox.durable]


def test_items_wait_in_order_until_they_are_sent(outbox):
    fill(outbox, 3, 5, 9)
    taken = outbox.first(2)
    fill(outbox, 11)
    assert outbox.lacks_after == 2
    outbox.sent(taken)
    assert positions(outbox) == [9, 11]
    assert outbox.lacks_after == 8


def test_too_many_items_are_left_to_the_log(outbox):
    fill(outbox, *range(10, 11 + MAX_DURABLE))
    assert outbox.cursor == 9
    assert positions(outbox) == []
    fill(outbox, 10_000)
    assert positions(outbox) == []


def test_what_was_on_its_way_counts_although_the_rest_is_left_to_the_log(outbox):
    fill(outbox, 10, 20, 30)
    taken = outbox.first(2)
    outbox.fall_behind()
    assert outbox.cursor == 9
    outbox.sent(taken)
    # Something else may be at 20 too.
    assert outbox.cursor == 19


def test_what_comes_while_the_log_is_read_is_kept(outbox):
    outbox.fall_behind(5)
    outbox.taking_after = 40
    fill(outbox, 40, 41, 42)
    outbox.caught_up_to(40, 40)
    assert outbox.cursor is None
    assert positions(outbox) == [41, 42]


def test_with_more_in_the_log_it_stays_behind(outbox):
    outbox.fall_behind(5)
    outbox.taking_after = 40
    fill(outbox, 41)
    outbox.caught_up_to(30, 40)
    assert outbox.cursor == 30
    assert positions(outbox) == []


def test_of_edus_the_newest_of_each_subject_waits(outbox):
    outbox.add_ephemeral("a", typing(True), 0.0)
    outbox.add_ephemeral("b", typing(True), 0.0)
    outbox.add_ephemeral("a", typing(False), 1.0)
    taken = outbox.take_ephemeral(10, 1.0)
    assert [(key, waiting.edu.typing) for key, waiting in taken] == [("b", True), ("a", False)]
    assert not outbox.has_work


def test_old_edus_are_dropped_and_there_are_never_many(outbox):
    for number in range(MAX_EPHEMERAL + 5):
        outbox.add_ephemeral(number, typing(), float(number))
    assert len(outbox.ephemeral) == MAX_EPHEMERAL
    now = MAX_AGE_SECONDS + MAX_EPHEMERAL + 4
    assert [key for key, _ in outbox.take_ephemeral(1000, now)] == [MAX_EPHEMERAL + 4]


def test_newer_edus_are_not_replaced_by_what_is_put_back(outbox):
    outbox.add_ephemeral("a", typing(True), 0.0)
    taken = outbox.take_ephemeral(1, 0.0)
    outbox.add_ephemeral("a", typing(False), 1.0)
    outbox.put_back(taken)
    assert [waiting.edu.typing for _, waiting in outbox.take_ephemeral(9, 1.0)] == [False]


@pytest.mark.parametrize("seed", range(40))
def test_everything_arrives_whatever_fails(seed):
    """A model: the log is a list of positions; sending fails, falls behind and catches up."""
    chance = random.Random(seed)
    outbox, log, arrived, routed = Outbox(ServerName("far.example")), [], set(), 0
    for _ in range(60):
        action = chance.choice(["write", "write", "send", "fail", "flood", "stored"])
        if action in ("write", "flood"):
            for _ in range(1 if action == "write" else chance.choice([1, MAX_DURABLE + 1])):
                routed += chance.randint(1, 3)
                log.append(routed)
                outbox.add(PduItem(routed, routed))
        elif action == "stored":
            # Whatever a crash would lose is behind what is stored.
            lacks = outbox.lacks_after
            missing = [pos for pos in log if pos not in arrived]
            assert not missing or (lacks is not None and lacks < missing[0])
        else:
            routed = attempt(outbox, log, arrived, routed, chance, fails=action == "fail")
    while outbox.has_work:
        routed = attempt(outbox, log, arrived, routed, chance, fails=False, writes=False)
    assert arrived == set(log)


def attempt(outbox, log, arrived, routed, chance, *, fails, writes=True):
    """Do as `Deliveries` does, with something written in the middle of it."""
    limit = chance.randint(1, 50)
    upto = routed
    page = None
    if outbox.cursor is not None:
        outbox.taking_after = upto
        items = [PduItem(pos, pos) for pos in log if outbox.cursor < pos <= upto][:limit]
        page = items[-1].pos if len(items) == limit else upto
    else:
        items = outbox.first(limit)
    if writes and chance.random() < 0.5:
        for _ in range(chance.choice([1, 1, MAX_DURABLE + 1])):
            routed += 1
            log.append(routed)
            outbox.add(PduItem(routed, routed))
    if fails:
        outbox.fall_behind()
        return routed
    arrived.update(item.pos for item in items)
    if page is None:
        outbox.sent(items)
    else:
        outbox.caught_up_to(page, upto)
    return routed
