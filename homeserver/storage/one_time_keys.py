"""One-time keys and fallback keys of local devices; a key is kept as JSON."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class OneTimeKeyRow(NamedTuple):
    """One key."""

    algorithm: str
    key_id: str
    key: bytes


class KnownKey(NamedTuple):
    """A key that was uploaded before."""

    key: bytes
    is_claimed: bool


class ClaimRow(NamedTuple):
    """What is claimed: the fields of the composite type `one_time_key_claim`, in order."""

    user_id: str
    device_id: str
    algorithm: str


class ClaimedKey(NamedTuple):
    """A key that is given away; `place` is that of its claim in the batch."""

    place: int
    key_id: str
    key: bytes


class ClaimedKeys(NamedTuple):
    """The positions (base_pos, upto] of a batch: one for each device (user, device), in order."""

    base_pos: int
    upto: int
    devices: Sequence[tuple[str, str]]
    claimed: Sequence[ClaimedKey]


class KeyCountsRow(NamedTuple):
    """How many one-time keys of each algorithm a device has, and its unused fallback keys."""

    counts: dict[str, int]
    unused_fallback: list[str]


async def known(
    tx: Transaction, user_id: str, device_id: str, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], KnownKey]:
    """Return those of the keys, by (algorithm, key ID), that the device has uploaded before."""
    wanted = list(names)
    rows = await tx.fetch(
        """
        SELECT k.algorithm, k.key_id, k.key, k.is_claimed
        FROM unnest($3::text[], $4::text[]) AS w (algorithm, key_id)
        JOIN one_time_keys k ON k.user_id = $1 AND k.device_id = $2
                            AND k.algorithm = w.algorithm AND k.key_id = w.key_id
        """,
        user_id,
        device_id,
        [name[0] for name in wanted],
        [name[1] for name in wanted],
    )
    return {(row[0], row[1]): KnownKey(row[2], row[3]) for row in rows}


async def add(tx: Transaction, user_id: str, device_id: str, keys: Sequence[OneTimeKeyRow]) -> None:
    """Append keys; one that takes the place of a claimed one counts as new."""
    await tx.execute(
        """
        DELETE FROM one_time_keys k USING unnest($3::text[], $4::text[]) AS n (algorithm, key_id)
        WHERE k.user_id = $1 AND k.device_id = $2 AND k.is_claimed
          AND k.algorithm = n.algorithm AND k.key_id = n.key_id
        """,
        user_id,
        device_id,
        [row.algorithm for row in keys],
        [row.key_id for row in keys],
    )
    await tx.execute(
        """
        INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
        SELECT $1, $2, n.algorithm, n.key_id, n.key
        FROM unnest($3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY
             AS n (algorithm, key_id, key, ord)
        ORDER BY n.ord
        """,
        user_id,
        device_id,
        [row.algorithm for row in keys],
        [row.key_id for row in keys],
        [row.key for row in keys],
    )


async def forget_claimed(tx: Transaction, user_id: str, device_id: str, keep: int) -> None:
    """Delete claimed keys of a device but for the newest ones."""
    await tx.execute(
        """
        DELETE FROM one_time_keys k
        WHERE k.user_id = $1 AND k.device_id = $2 AND k.is_claimed AND k.ordinal <= (
            SELECT o.ordinal FROM one_time_keys o
            WHERE o.user_id = $1 AND o.device_id = $2 AND o.is_claimed
            ORDER BY o.ordinal DESC OFFSET $3 LIMIT 1
        )
        """,
        user_id,
        device_id,
        keep,
    )


async def delete_all(tx: Transaction, user_id: str, device_id: str) -> None:
    """Delete the one-time keys and fallback keys of a device."""
    for table in ("one_time_keys", "fallback_keys"):
        await tx.execute(
            f"DELETE FROM {table} WHERE user_id = $1 AND device_id = $2",
            user_id,
            device_id,
        )


async def put_fallback(
    tx: Transaction, user_id: str, device_id: str, keys: Sequence[OneTimeKeyRow]
) -> bool:
    """Replace the fallback keys of algorithms; False: they are those that were there, used or not.

    Any number of keys, at most one of an algorithm.
    """
    status = await tx.execute(
        """
        INSERT INTO fallback_keys AS f (user_id, device_id, algorithm, key_id, key)
        SELECT $1, $2, n.algorithm, n.key_id, n.key
        FROM unnest($3::text[], $4::text[], $5::bytea[]) AS n (algorithm, key_id, key)
        ON CONFLICT (user_id, device_id, algorithm) DO UPDATE
        SET key_id = excluded.key_id, key = excluded.key, is_used = false
        WHERE f.key_id <> excluded.key_id OR f.key <> excluded.key
        """,
        user_id,
        device_id,
        [row.algorithm for row in keys],
        [row.key_id for row in keys],
        [row.key for row in keys],
    )
    return not status.endswith(" 0")


async def counts_of(connection: Connection, user_id: str, device_id: str) -> KeyCountsRow:
    """Count the unclaimed keys of a device."""
    rows = await connection.fetch(
        """
        SELECT algorithm, count(*) FROM one_time_keys
        WHERE user_id = $1 AND device_id = $2 AND NOT is_claimed GROUP BY algorithm
        UNION ALL
        SELECT algorithm, 0 FROM fallback_keys
        WHERE user_id = $1 AND device_id = $2 AND NOT is_used
        """,
        user_id,
        device_id,
    )
    return KeyCountsRow(
        {row[0]: row[1] for row in rows if row[1]}, sorted(row[0] for row in rows if not row[1])
    )


async def claim(connection: Connection, claims: Sequence[ClaimRow]) -> ClaimedKeys:
    """Give a key to each claim, as far as there are any, in one statement."""
    row = await connection.fetchrow(
        """
        SELECT base_pos, upto, users, devices, ords, key_ids, keys
        FROM claim_one_time_keys($1::one_time_key_claim[])
        """,
        list(claims),
    )
    assert row is not None
    columns = (row["ords"], row["key_ids"], row["keys"])
    return ClaimedKeys(
        row["base_pos"],
        row["upto"],
        list(zip(row["users"], row["devices"], strict=True)),
        [ClaimedKey(ord_ - 1, key_id, key) for ord_, key_id, key in zip(*columns, strict=True)],
    )
