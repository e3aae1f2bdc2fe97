"""The routes of a node: everything that it answers over HTTP."""

from client_api.routes.presence import PresenceRoutes
from client_api.routes.sync import SyncRoutes
from homeserver.run.account_data_routes import account_data_routes
from homeserver.run.account_layer import account_routes
from homeserver.run.federation_layer import federation_routes
from homeserver.run.federation_query_routes import federation_query_routes, history_of
from homeserver.run.foundation import Foundation
from homeserver.run.health import HealthRoutes
from homeserver.run.key_backup_routes import key_backup_routes
from homeserver.run.media_layer import media_routes
from homeserver.run.membership_layer import membership_routes
from homeserver.run.moderation_routes import moderation_routes
from homeserver.run.parts import Parts
from homeserver.run.push_layer import push_routes
from homeserver.run.reading_routes import reading_routes
from homeserver.run.room_routes import room_routes
from homeserver.run.search_routes import search_routes
from homeserver.run.sending_layer import transaction_routes
from homeserver.run.sync_layer import sync_layer
from homeserver.run.to_device_layer import to_device_routes
from homeserver.storage import log as log_table
from homeserver.storage.database import DatabaseUnavailable


def routes_of(parts: Parts) -> list[object]:
    """Return the objects whose endpoints a node has."""
    base, accounts, rooms = parts.base, parts.accounts, parts.rooms
    presence = parts.presence
    sync = sync_layer(base, rooms, parts.keys, presence=presence.news)
    return [
        *account_routes(base, accounts, rooms, parts.keys, parts.profiles, parts.push.web_push_key),
        *room_routes(base, rooms, parts.invites, parts.filters, presence, history_of(parts)),
        *account_data_routes(base),
        *reading_routes(base, rooms),
        *federation_routes(base, parts.federation),
        *federation_query_routes(parts),
        *membership_routes(
            base,
            parts.memberships,
            rooms.invite_permissions,
            accounts.accounts,
            parts.invites,
        ),
        *transaction_routes(parts),
        *search_routes(base, rooms),
        *moderation_routes(base, accounts, rooms),
        *to_device_routes(base, accounts),
        *key_backup_routes(base),
        *media_routes(base, parts.media),
        *push_routes(base, accounts, rooms, parts.push),
        PresenceRoutes(presence.presence),
        SyncRoutes(sync, parts.filters, presence.presence),
        HealthRoutes(base.metrics, {"database": lambda: _is_database_there(base)}, base.shutdown),
    ]


async def _is_database_there(base: Foundation) -> bool:
    try:
        async with base.database.connection("readiness") as connection:
            await log_table.head(connection)
    except DatabaseUnavailable:
        return False
    return True
