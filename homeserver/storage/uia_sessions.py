"""Sessions of user-interactive authentication, by the SHA-256 of the session ID."""

from typing import NamedTuple

from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.storage.database import Connection, Transaction


class NewUiaSession(NamedTuple):
    """A session to begin; flows as JSON, times in milliseconds since 1970."""

    session_hash: bytes
    operation: str
    user_id: UserID | None
    flows: str
    expires_ts: int
    sealed_request: bytes | None


class UiaSessionRow(NamedTuple):
    """A session and the stages that it has completed, in order, each with its proof."""

    operation: str
    user_id: UserID | None
    # As JSON.
    flows: str
    sealed_request: bytes | None
    registered_user_id: UserID | None
    registered_device_id: DeviceID | None
    completed: tuple[tuple[str, str], ...]


async def insert(connection: Connection, session: NewUiaSession) -> None:
    """Begin a session."""
    await connection.execute(
        """
        INSERT INTO uia_sessions (session_hash, operation, user_id, flows, expires_ts,
                                  sealed_request)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        *session,
    )


async def session_of(
    connection: Connection, session_hash: bytes, now_ms: int
) -> UiaSessionRow | None:
    """Read a session that has not expired."""
    row = await connection.fetchrow(
        """
        SELECT operation, user_id, flows, sealed_request, registered_user_id,
               registered_device_id,
               ARRAY(SELECT stage FROM uia_stages t WHERE t.session_hash = u.session_hash
                     ORDER BY ordinal) AS stages,
               ARRAY(SELECT proof FROM uia_stages t WHERE t.session_hash = u.session_hash
                     ORDER BY ordinal) AS proofs
        FROM uia_sessions u WHERE session_hash = $1 AND expires_ts > $2
        """,
        session_hash,
        now_ms,
    )
    if row is None:
        return None
    completed = tuple(zip(row["stages"], row["proofs"], strict=True))
    return UiaSessionRow(
        row["operation"],
        row["user_id"],
        row["flows"],
        row["sealed_request"],
        row["registered_user_id"],
        row["registered_device_id"],
        completed,
    )


async def set_request(connection: Connection, session_hash: bytes, sealed_request: bytes) -> None:
    """Keep the newest request of a session."""
    await connection.execute(
        "UPDATE uia_sessions SET sealed_request = $2 WHERE session_hash = $1",
        session_hash,
        sealed_request,
    )


async def shorten(connection: Connection, session_hash: bytes, expires_ts: int) -> None:
    """Let a session end at a time, unless it ends before that."""
    await connection.execute(
        "UPDATE uia_sessions SET expires_ts = least(expires_ts, $2) WHERE session_hash = $1",
        session_hash,
        expires_ts,
    )


async def lock_session(tx: Transaction, session_hash: bytes) -> bool:
    """Keep others from changing a session until the transaction ends; False: it is gone."""
    row = await tx.fetchrow(
        "SELECT FROM uia_sessions WHERE session_hash = $1 FOR UPDATE", session_hash
    )
    return row is not None


async def complete_stage(tx: Transaction, session_hash: bytes, stage: str, proof: str) -> None:
    """Add a completed stage to a locked session; what is complete already stays as it was."""
    await tx.execute(
        """
        INSERT INTO uia_stages (session_hash, stage, proof) VALUES ($1, $2, $3)
        ON CONFLICT (session_hash, stage) DO NOTHING
        """,
        session_hash,
        stage,
        proof,
    )


async def registered_by(
    tx: Transaction, session_hash: bytes
) -> tuple[UserID | None, DeviceID | None]:
    """Return what account a locked session has registered, and with which device."""
    row = await tx.fetchrow(
        """
        SELECT registered_user_id, registered_device_id FROM uia_sessions
        WHERE session_hash = $1
        """,
        session_hash,
    )
    return (row["registered_user_id"], row["registered_device_id"]) if row else (None, None)


async def set_registered(
    tx: Transaction, session_hash: bytes, user_id: str, device_id: str | None
) -> None:
    """Record the account that a session has registered; its request is needed no more."""
    await tx.execute(
        """
        UPDATE uia_sessions
        SET registered_user_id = $2, registered_device_id = $3, sealed_request = NULL
        WHERE session_hash = $1
        """,
        session_hash,
        user_id,
        device_id,
    )


async def delete(connection: Connection, session_hash: bytes) -> bool:
    """End a session; False: somebody else has."""
    row = await connection.fetchrow(
        "DELETE FROM uia_sessions WHERE session_hash = $1 RETURNING session_hash", session_hash
    )
    return row is not None


async def delete_of_user(tx: Transaction, user_id: str) -> None:
    """End all sessions of a user."""
    await tx.execute("DELETE FROM uia_sessions WHERE user_id = $1", user_id)


async def delete_expired(connection: Connection, now_ms: int) -> None:
    """Forget expired sessions."""
    await connection.execute("DELETE FROM uia_sessions WHERE expires_ts <= $1", now_ms)
