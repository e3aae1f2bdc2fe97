"""Mail that waits to be sent, by any node."""

from typing import NamedTuple

from homeserver.storage.database import Connection, Transaction


class NewMailRow(NamedTuple):
    """A mail to be sent; times in milliseconds since 1970, headers as names and values in turn."""

    recipient: str
    subject: str
    text_body: str
    html_body: str | None
    headers: list[str]
    message_id: str
    next_ts: int
    expires_ts: int


class MailRow(NamedTuple):
    """A mail that this node sends now."""

    mail_nid: int
    recipient: str
    subject: str
    text_body: str
    html_body: str | None
    headers: list[str]
    message_id: str
    attempts: int
    expires_ts: int


async def insert(tx: Transaction, mail: NewMailRow) -> None:
    """Put a mail into the queue."""
    await tx.execute(
        """
        INSERT INTO mail_queue (recipient, subject, text_body, html_body, headers, message_id,
                                next_ts, expires_ts)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        *mail,
    )


async def claim(connection: Connection, now_ms: int, until_ms: int) -> MailRow | None:
    """Take the mail that is due first; others leave it alone until a time. None: none is due.

    Counts as an attempt.
    """
    row = await connection.fetchrow(
        """
        UPDATE mail_queue SET next_ts = $2, attempts = attempts + 1
        WHERE mail_nid = (
            SELECT mail_nid FROM mail_queue WHERE next_ts <= $1
            ORDER BY next_ts, mail_nid LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING mail_nid, recipient, subject, text_body, html_body, headers, message_id,
                  attempts, expires_ts
        """,
        now_ms,
        until_ms,
    )
    return MailRow(*row) if row else None


async def postpone(connection: Connection, mail_nid: int, next_ts: int) -> None:
    """Have a mail sent later."""
    await connection.execute(
        "UPDATE mail_queue SET next_ts = $2 WHERE mail_nid = $1", mail_nid, next_ts
    )


async def delete(connection: Connection, mail_nid: int) -> None:
    """Forget a mail: it has been sent, or never will be."""
    await connection.execute("DELETE FROM mail_queue WHERE mail_nid = $1", mail_nid)
