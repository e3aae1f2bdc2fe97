"""The life cycle of media, put together."""

from typing import Final

from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.streams.followers import Followers
from media_repo.lifecycle import references
from media_repo.lifecycle.references import MediaReferences
from media_repo.lifecycle.retention import MediaRetention

# Retention counts in days.
_RETENTION_SECONDS: Final = 3600.0


def add_media_follower(followers: Followers, base: Foundation) -> None:
    """Have a node keep the references of events to media."""
    followers.add(
        references.FOLLOWER_NAME,
        MediaReferences(
            ServerName(base.config.server.name),
            removes=base.config.media.retention.remove_redacted,
        ),
    )


def start_retention(base: Foundation) -> MediaRetention:
    """Have a node remove old media now and then."""
    retention = MediaRetention(
        base.database,
        base.clock,
        ServerName(base.config.server.name),
        base.config.media.retention,
    )
    base.tasks.every("media retention", _RETENTION_SECONDS, retention.remove_old)
    return retention
