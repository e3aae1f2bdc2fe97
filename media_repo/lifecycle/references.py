"""A follower of the log that knows which events name which media.

When an event is redacted, the media that was attached to it goes, unless something else names it.
"""

from collections.abc import Collection, Sequence
from typing import Final

from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.storage import media_references
from homeserver.storage.database import Transaction
from homeserver.storage.media_references import LeftOver, MediaReference, RedactedCore
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.follower import Stretch
from homeserver.telemetry.log import get_logger
from media_repo.lifecycle.mentions import SCHEME, attached_to, mentioned_in

log = get_logger(__name__)

FOLLOWER_NAME: Final = "media_references"
# Taken along with what the log tells, which keeps the transaction short.
_MAX_BACKLOG: Final = 1_000


class MediaReferences:
    """Keeps the references, and removes what is left over."""

    def __init__(self, own_name: ServerName, *, removes: bool) -> None:
        """`removes`: see the setting `media.retention.remove_redacted`."""
        self._own_name = own_name
        self._removes = removes

    def concerns(self, entry: LogEntry) -> bool:
        """Whether an event names media, or is a redaction, which may be of one that did."""
        return isinstance(entry, EventEntry) and (
            entry.redaction is not None or SCHEME in entry.record.core
        )

    async def handle(self, stretch: Stretch) -> None:
        """Write down what events name, and then see to what is redacted."""
        told = [entry for entry in stretch.entries if isinstance(entry, EventEntry)]
        brought = {entry.record.event_nid for entry in told}
        redacted = {entry.redaction.event_nid for entry in told if entry.redaction is not None}
        async with stretch.done() as tx:
            brought.update(await media_references.take_backlog(tx, _MAX_BACKLOG))
            await self._refer(tx, brought)
            taken = await media_references.take_redacted(
                tx, redacted, told[-1].pos, _MAX_BACKLOG + len(redacted)
            )
            removed = await self._remove(tx, taken) if self._removes else []
        for origin, media_id in removed:
            log.info("media of a redacted event removed", origin=origin, media_id=media_id)

    async def _refer(self, tx: Transaction, event_nids: Collection[int]) -> None:
        references: list[MediaReference] = []
        for event_nid, core in await media_references.cores_of(tx, event_nids):
            attached = attached_to(core)
            references += (
                MediaReference(event_nid, uri.origin, uri.media_id, uri in attached)
                for uri in mentioned_in(core)
            )
        if references:
            await media_references.put(tx, references)

    async def _remove(
        self, tx: Transaction, taken: Sequence[RedactedCore]
    ) -> list[tuple[str, str]]:
        left_over = {
            LeftOver(uri.origin, uri.media_id, redacted.sender)
            for redacted in taken
            for uri in attached_to(redacted.core)
            # Nobody has another server's media removed but users of that server.
            if uri.origin == server_name_of(UserID(redacted.sender))
        }
        if not left_over:
            return []
        await media_references.lock_removal(tx)
        return await media_references.remove_left_over(tx, sorted(left_over), self._own_name)
