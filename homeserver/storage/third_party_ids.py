"""Verified addresses of accounts, and where they are bound."""

from typing import NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.storage.database import Connection, Transaction


class AddressRow(NamedTuple):
    """An address of an account; times in milliseconds since 1970."""

    medium: str
    address: str
    validated_ts: int
    added_ts: int


class BindingRow(NamedTuple):
    """An address that an identity server knows to be a user's."""

    medium: str
    address: str
    id_server: str


async def addresses_of(connection: Connection, user_id: str) -> list[AddressRow]:
    """List the addresses of a user, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT medium, address, validated_ts, added_ts FROM third_party_ids
        WHERE user_id = $1 ORDER BY added_ts, medium, address
        """,
        user_id,
    )
    return [AddressRow(*row) for row in rows]


async def user_of(connection: Connection, medium: str, address: str) -> UserID | None:
    """Return whose an address in canonical form is."""
    user_id = await connection.fetchval(
        "SELECT user_id FROM third_party_ids WHERE medium = $1 AND address = $2", medium, address
    )
    return None if user_id is None else UserID(user_id)


async def insert(tx: Transaction, user_id: str, row: AddressRow) -> bool:
    """Give an address to a user, again if need be; False: another user has it."""
    owner = await tx.fetchval(
        """
        INSERT INTO third_party_ids AS t (user_id, medium, address, validated_ts, added_ts)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (medium, address) DO UPDATE SET validated_ts = excluded.validated_ts
        WHERE t.user_id = excluded.user_id RETURNING user_id
        """,
        user_id,
        *row,
    )
    return owner is not None


async def delete(tx: Transaction, user_id: str, medium: str, address: str) -> None:
    """Take an address from a user, if the user has it."""
    await tx.execute(
        "DELETE FROM third_party_ids WHERE user_id = $1 AND medium = $2 AND address = $3",
        user_id,
        medium,
        address,
    )


async def delete_all(tx: Transaction, user_id: str) -> None:
    """Take all addresses from a user; where they are bound stays known."""
    await tx.execute("DELETE FROM third_party_ids WHERE user_id = $1", user_id)


async def bindings_of(connection: Connection, user_id: str) -> list[BindingRow]:
    """List through which identity servers a user can be found."""
    rows = await connection.fetch(
        """
        SELECT medium, address, id_server FROM identity_bindings
        WHERE user_id = $1 ORDER BY medium, address, id_server
        """,
        user_id,
    )
    return [BindingRow(*row) for row in rows]


async def insert_binding(connection: Connection, user_id: str, row: BindingRow) -> None:
    """Record a binding."""
    await connection.execute(
        """
        INSERT INTO identity_bindings (user_id, medium, address, id_server)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        user_id,
        *row,
    )


async def delete_binding(connection: Connection, user_id: str, row: BindingRow) -> None:
    """Forget a binding."""
    await connection.execute(
        """
        DELETE FROM identity_bindings
        WHERE user_id = $1 AND medium = $2 AND address = $3 AND id_server = $4
        """,
        user_id,
        *row,
    )
