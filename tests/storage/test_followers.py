"""Positions and leases of followers in PostgreSQL."""

import pytest

from homeserver.storage import follower_nodes, followers
from homeserver.storage.database import Database
from homeserver.storage.followers import Lease, Renewed
from homeserver.storage.log import take_positions

A, B = Lease("a", 10_000), Lease("b", 10_000)
GRACE_MS = 5_000


@pytest.fixture
async def name(database: Database) -> str:
    """A follower that nobody runs."""
    async with database.connection() as connection:
        await followers.add(connection, "mail", at_head=False)
    return "mail"


async def renew(
    database: Database, lease: Lease, now_ms: int = 0, **positions: int
) -> dict[str, int]:
    """Return the positions of the followers whose leases the node has."""
    renewed = await renewed_by(database, lease, now_ms, **positions)
    return {name: each.position for name, each in renewed.items()}


async def renewed_by(
    database: Database, lease: Lease, now_ms: int = 0, **positions: int
) -> dict[str, Renewed]:
    async with database.connection() as connection:
        return await followers.renew(
            connection,
            positions or {"mail": 0},
            lease,
            now_ms,
            part="followers",
            grace_ms=GRACE_MS,
        )


async def release(database: Database, node_id: str, now_ms: int = 0, **positions: int) -> None:
    async with database.connection() as connection:
        await followers.release(connection, positions, node_id, now_ms)


async def stop(database: Database, node_id: str, now_ms: int = 0, **positions: int) -> None:
    async with database.connection() as connection:
        await follower_nodes.leave(connection, node_id, "followers")
    await release(database, node_id, now_ms, **positions)


async def advance(database: Database, lease: Lease, after: int, upto: int) -> bool:
    async with database.transaction() as tx:
        return await followers.advance(tx, "mail", after, upto, lease)


async def test_a_new_follower_begins_before_the_first_entry_or_at_the_head(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await take_positions(tx, 7)
    async with database.connection() as connection:
        await followers.add(connection, "start", at_head=False)
        await followers.add(connection, "head", at_head=True)
    assert await renew(database, A, start=0, head=0) == {"start": 0, "head": 7}


async def test_a_follower_is_made_once(database: Database, name: str) -> None:
    await renew(database, A)
    assert await advance(database, A, 0, 5)
    async with database.connection() as connection:
        await followers.add(connection, name, at_head=True)
    assert await renew(database, A) == {name: 5}


async def test_a_lease_is_held_by_one_node_until_it_runs_out(database: Database, name: str) -> None:
    assert await renew(database, A) == {name: 0}
    assert await renew(database, B, now_ms=9_999) == {}
    assert await renew(database, B, now_ms=10_000) == {name: 0}
    assert await renew(database, A, now_ms=19_999) == {name: 0}


async def test_a_renewal_prolongs_the_lease(database: Database, name: str) -> None:
    await renew(database, A)
    await renew(database, Lease("a", 15_000), now_ms=5_000)
    assert await renew(database, B, now_ms=14_999) == {}


async def test_a_renewal_that_comes_late_does_not_shorten_the_lease(
    database: Database, name: str
) -> None:
    await renew(database, Lease("a", 15_000), now_ms=5_000)
    await renew(database, A)
    await advance(database, A, 0, 5)
    assert await renew(database, B, now_ms=14_999) == {}


async def test_a_new_holder_takes_nothing_over_of_the_time_of_the_old(
    database: Database, name: str
) -> None:
    await renew(database, Lease("a", 90_000))
    await stop(database, "a", mail=0)
    await renew(database, B)
    assert await renew(database, A, now_ms=10_000) == {name: 0}


async def test_only_the_holder_advances(database: Database, name: str) -> None:
    assert not await advance(database, A, 0, 5)
    await renew(database, A)
    assert not await advance(database, B, 0, 5)
    assert await advance(database, A, 0, 5)
    assert await renew(database, A) == {name: 5}


async def test_a_position_that_was_handled_is_not_stored_again(
    database: Database, name: str
) -> None:
    await renew(database, A)
    assert await advance(database, A, 0, 5)
    assert not await advance(database, A, 0, 5)
    assert not await advance(database, A, 4, 9)
    assert await advance(database, A, 5, 9)


async def test_advancing_prolongs_the_lease(database: Database, name: str) -> None:
    await renew(database, A)
    await advance(database, Lease("a", 20_000), 0, 5)
    assert await renew(database, B, now_ms=19_999) == {}


async def test_the_position_that_a_node_knows_is_kept_unless_it_is_behind(
    database: Database, name: str
) -> None:
    assert await renew(database, A, mail=8) == {name: 8}
    assert await renew(database, A, mail=3) == {name: 8}


async def test_the_position_of_who_does_not_get_the_lease_is_not_kept(
    database: Database, name: str
) -> None:
    await renew(database, A)
    assert await renew(database, B, mail=8) == {}
    assert await renew(database, A) == {name: 0}


async def test_a_follower_that_is_being_advanced_is_not_waited_for(
    database: Database, name: str
) -> None:
    await renew(database, A)
    async with database.transaction() as tx:
        await followers.advance(tx, name, 0, 5, A)
        assert await renew(database, A) == {}
        assert await renew(database, B, now_ms=50_000) == {}
    assert await renew(database, A) == {name: 5}


async def test_a_released_lease_is_free_at_once(database: Database, name: str) -> None:
    await renew(database, A)
    await stop(database, "a", mail=6)
    assert await renew(database, B) == {name: 6}


async def test_nobody_releases_the_lease_of_another_node(database: Database, name: str) -> None:
    await renew(database, A)
    await release(database, "b", mail=6)
    assert await renew(database, B) == {}
    assert await renew(database, A) == {name: 0}


async def test_many_leases_are_taken_with_one_statement(database: Database, name: str) -> None:
    async with database.connection() as connection:
        await followers.add(connection, "push", at_head=False)
    await renew(database, B, push=0)
    assert await renew(database, A, mail=0, push=0, unknown=0) == {name: 0}


# To whom followers belong: of "a" and "b", "mail" belongs to "b" and "push" to "a".


@pytest.fixture
async def both(database: Database, name: str) -> None:
    """Two followers that both nodes can run, and whose leases both have given up at 0."""
    async with database.connection() as connection:
        await followers.add(connection, "push", at_head=False)
    for lease in (A, B):
        await renew(database, lease, mail=0, push=0)
        await release(database, lease.node_id, mail=0, push=0)


async def test_a_free_lease_is_for_the_node_that_it_belongs_to(
    database: Database, both: None
) -> None:
    assert await renew(database, A, mail=0, push=0) == {"push": 0}
    assert await renew(database, B, mail=0, push=0) == {"mail": 0}


async def test_a_lease_that_is_left_lying_goes_to_any_node(database: Database, both: None) -> None:
    assert await renew(database, A, now_ms=GRACE_MS - 1) == {}
    late = await renewed_by(database, A, now_ms=GRACE_MS)
    assert late == {"mail": Renewed(0, belongs_here=False)}


async def test_who_holds_a_lease_keeps_it_and_learns_that_it_belongs_elsewhere(
    database: Database, name: str
) -> None:
    assert await renewed_by(database, A) == {"mail": Renewed(0, belongs_here=True)}
    assert await renew(database, B) == {}
    assert await renewed_by(database, A) == {"mail": Renewed(0, belongs_here=False)}


async def test_nothing_belongs_to_a_node_that_is_dead(database: Database, both: None) -> None:
    assert await renew(database, A, now_ms=10_000, mail=0, push=0) == {"mail": 0, "push": 0}


async def test_nothing_belongs_to_a_node_that_has_left(database: Database, both: None) -> None:
    async with database.connection() as connection:
        await follower_nodes.leave(connection, "b", "followers")
    assert await renew(database, A, mail=0, push=0) == {"mail": 0, "push": 0}


async def test_nothing_belongs_to_a_node_that_cannot_run_it(database: Database, both: None) -> None:
    # It runs with another configuration now.
    await renew(database, B, push=0)
    assert await renew(database, A, mail=0, push=0) == {"mail": 0, "push": 0}


async def test_live_nodes_are_listed_with_their_leases(database: Database, both: None) -> None:
    await renew(database, A, mail=0, push=0)
    async with database.connection() as connection:
        assert await follower_nodes.alive(connection, 0) == [("a", ["push"]), ("b", [])]
        assert await follower_nodes.unheld(connection, 0) == ["mail"]
        assert await follower_nodes.alive(connection, 10_000) == []
        assert await follower_nodes.unheld(connection, 10_000) == []


async def test_nodes_that_died_long_ago_are_forgotten(database: Database, name: str) -> None:
    await renew(database, A)
    await renew(database, Lease("b", 20_000))
    async with database.connection() as connection:
        await follower_nodes.forget_dead(connection, 15_000)
        assert await connection.fetchval("SELECT array_agg(node_id) FROM follower_nodes") == ["b"]
