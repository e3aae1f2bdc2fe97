"""Key backups, put together."""

from client_api.routes.backed_up_keys import BackedUpKeyRoutes
from client_api.routes.key_backup import KeyBackupRoutes
from homeserver.run.foundation import Foundation
from homeserver.services.key_backup import KeyBackup


def key_backup_routes(base: Foundation) -> list[object]:
    """Put the operations on key backups together."""
    key_backup = KeyBackup(base.database)
    return [KeyBackupRoutes(key_backup), BackedUpKeyRoutes(key_backup)]
