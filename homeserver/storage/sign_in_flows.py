"""Logins at other providers that are in progress, by the SHA-256 of ID and secret."""

from homeserver.storage.database import Connection


async def put(
    connection: Connection, flow_hash: bytes, step: str, sealed: bytes, expires_ts: int
) -> None:
    """Begin a flow, or go on to its next step."""
    await connection.execute(
        """
        INSERT INTO sign_in_flows (flow_hash, step, sealed, expires_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT (flow_hash) DO UPDATE
        SET step = excluded.step, sealed = excluded.sealed, expires_ts = excluded.expires_ts
        """,
        flow_hash,
        step,
        sealed,
        expires_ts,
    )


async def read(connection: Connection, flow_hash: bytes, step: str, now_ms: int) -> bytes | None:
    """Return what is sealed in a flow that waits for a step."""
    sealed: bytes | None = await connection.fetchval(
        """
        SELECT sealed FROM sign_in_flows
        WHERE flow_hash = $1 AND step = $2 AND expires_ts > $3
        """,
        flow_hash,
        step,
        now_ms,
    )
    return sealed


async def take(connection: Connection, flow_hash: bytes, step: str, now_ms: int) -> bytes | None:
    """End a flow that waits for a step, and return what was sealed; None: somebody else has."""
    sealed: bytes | None = await connection.fetchval(
        """
        DELETE FROM sign_in_flows
        WHERE flow_hash = $1 AND step = $2 AND expires_ts > $3 RETURNING sealed
        """,
        flow_hash,
        step,
        now_ms,
    )
    return sealed


async def delete_expired(connection: Connection, now_ms: int) -> None:
    """Forget flows that nobody can finish."""
    await connection.execute("DELETE FROM sign_in_flows WHERE expires_ts <= $1", now_ms)
