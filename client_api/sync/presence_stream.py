"""Presence in /sync: who is there at first, then what has changed.

Spec: client-server-api/#presence
"""

from collections.abc import Mapping

from msgspec import UNSET

from client_api.sync.encode import event_list
from client_api.sync.request import SyncContext
from homeserver.services.presence_news import PRESENCE, PresenceNews


class PresenceStream:
    """The member `presence` of an answer."""

    def __init__(self, news: PresenceNews) -> None:
        self._news = news

    async def sections(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return the events that are new to the client, of those that the filter lets through.

        Of more than the filter's limit the newest; without one there is no limit. Ignored users
        are not told of.
        """
        matcher = context.request.filter.presence
        if matcher.matches_nothing or matcher.filter.limit == 0:
            return {}
        user_id, since = context.viewer.user_id, context.since
        if since is None:
            states = await self._news.present(user_id, context.memberships)
        else:
            states = await self._news.since(user_id, context.memberships, since)
        chosen = [
            state
            for state in states
            if state.user_id not in context.ignored and matcher.matches(PRESENCE, state.user_id)
        ]
        if matcher.filter.limit is not UNSET:
            chosen = chosen[-matcher.filter.bounded_limit() :]
        return {"presence": event_list(map(self._news.event, chosen))} if chosen else {}

    async def always(self, context: SyncContext) -> Mapping[str, bytes]:
        """Nothing: presence is only told when it changes."""
        return {}
