"""Verifications of addresses in progress, by session ID."""

from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class SessionKey(NamedTuple):
    """What makes two requests mean the same session."""

    medium: str
    address: str
    secret_hash: bytes
    purpose: str


class SessionRow(NamedTuple):
    """One session; times in milliseconds since 1970."""

    sid: str
    purpose: str
    medium: str
    address: str
    secret_hash: bytes
    last_attempt: int
    next_link: str | None
    token_hashes: list[bytes]
    wrong_tokens: int
    validated_ts: int | None


_COLUMNS = """sid, purpose, medium, address, secret_hash, last_attempt, next_link, token_hashes,
              wrong_tokens, validated_ts"""


async def insert_or_lock(
    tx: Transaction, sid: str, key: SessionKey, now_ms: int, expires_ts: int
) -> SessionRow:
    """Return the live session of a key, made if need be, locked to the end of the transaction.

    A new one has seen no attempt: its number is smaller than any.
    """
    await tx.execute(
        """
        DELETE FROM validation_sessions
        WHERE medium = $1 AND address = $2 AND secret_hash = $3 AND purpose = $4
          AND expires_ts <= $5
        """,
        *key,
        now_ms,
    )
    row = await tx.fetchrow(
        f"""
        INSERT INTO validation_sessions AS v (sid, medium, address, secret_hash, purpose,
                                              last_attempt, token_hashes, expires_ts)
        VALUES ($1, $2, $3, $4, $5, {_NO_ATTEMPT}, '{{}}', $6)
        ON CONFLICT (medium, address, secret_hash, purpose) DO UPDATE SET purpose = v.purpose
        RETURNING {_COLUMNS}
        """,
        sid,
        *key,
        expires_ts,
    )
    assert row is not None
    return SessionRow(*row)


async def add_attempt(
    tx: Transaction,
    sid: str,
    attempt: int,
    *,
    token_hash: bytes | None,
    next_link: str | None,
    expires_ts: int,
) -> None:
    """Record a mail with a new token, or with none; tokens of older mails stay good."""
    await tx.execute(
        """
        UPDATE validation_sessions
        SET last_attempt = $2, next_link = $4, expires_ts = $5,
            token_hashes = CASE WHEN $3::bytea IS NULL THEN token_hashes
                                ELSE array_append(token_hashes, $3) END
        WHERE sid = $1
        """,
        sid,
        attempt,
        token_hash,
        next_link,
        expires_ts,
    )


async def session_of(connection: Connection, sid: str, now_ms: int) -> SessionRow | None:
    """Read a session that has not expired."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM validation_sessions WHERE sid = $1 AND expires_ts > $2",
        sid,
        now_ms,
    )
    return SessionRow(*row) if row else None


async def count_wrong_token(connection: Connection, sid: str) -> None:
    """Record that somebody has tried a wrong token."""
    await connection.execute(
        "UPDATE validation_sessions SET wrong_tokens = wrong_tokens + 1 WHERE sid = $1", sid
    )


async def set_validated(connection: Connection, sid: str, now_ms: int, expires_ts: int) -> None:
    """Record that the address is verified, the first time for good."""
    await connection.execute(
        """
        UPDATE validation_sessions SET validated_ts = coalesce(validated_ts, $2), expires_ts = $3
        WHERE sid = $1
        """,
        sid,
        now_ms,
        expires_ts,
    )


async def take(tx: Transaction, sid: str) -> bool:
    """Use a session up; False: somebody else has."""
    row = await tx.fetchrow("DELETE FROM validation_sessions WHERE sid = $1 RETURNING sid", sid)
    return row is not None


async def delete_expired(connection: Connection, now_ms: int) -> None:
    """Forget expired sessions."""
    await connection.execute("DELETE FROM validation_sessions WHERE expires_ts <= $1", now_ms)


# Attempts are integers of 53 bits that clients choose.
_NO_ATTEMPT = -(2**60)
