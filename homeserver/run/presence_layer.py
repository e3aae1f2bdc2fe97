"""Presence, put together."""

import secrets
from typing import Final

import msgspec

from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.services.presence import Presence
from homeserver.services.presence_news import PresenceNews
from homeserver.services.presence_remote import RemotePresence
from homeserver.services.presence_sessions import PresenceSessions
from homeserver.services.presence_writer import BEAT_SECONDS, FLUSH_SECONDS, PresenceWriter
from homeserver.streams.presence_index import PresenceIndex
from homeserver.streams.presence_wakes import PresenceWakes

# Of one run of the process: no other run may ever have it.
_NODE_ID_BYTES: Final = 16
_SILENCE_SECONDS: Final = 60.0


class PresenceLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What the edges and tests use of presence; `news` None: nobody is told of any."""

    presence: Presence
    news: PresenceNews | None
    writer: PresenceWriter
    remote: RemotePresence
    index: PresenceIndex


def presence_layer(base: Foundation) -> PresenceLayer:
    """Put presence together; nothing runs where it is switched off."""
    database, tail, clock = base.database, base.tail, base.clock
    section = base.config.presence
    sessions = PresenceSessions(clock)
    writer = PresenceWriter(
        database, base.log_writer, sessions, clock, node_id=secrets.token_hex(_NODE_ID_BYTES)
    )
    remote = RemotePresence(database, base.log_writer, clock)
    index = PresenceIndex(database, tail, clock)
    news = PresenceNews(database, tail, index, clock)
    if section.enabled:
        tail.follow(sessions.take)
        PresenceWakes(tail, base.notifier, base.tasks, clock)
        base.tasks.every("presence flush", FLUSH_SECONDS, writer.flush)
        base.tasks.every("presence beat", BEAT_SECONDS, writer.beat)
        base.tasks.every("presence of silent servers", _SILENCE_SECONDS, remote.end_silent)
    return PresenceLayer(
        presence=Presence(
            database,
            tail,
            sessions,
            writer,
            remote,
            news,
            clock,
            section,
            ServerName(base.config.server.name),
        ),
        news=news if section.enabled else None,
        writer=writer,
        remote=remote,
        index=index,
    )
