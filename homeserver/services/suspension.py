"""What suspended users may still send. Spec: client-server-api/#account-suspension"""

from homeserver.errors import UserSuspended
from homeserver.protocol.json_types import JsonValue
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.web.requester import Requester


class Suspension:
    """Lets suspended users redact their own events and leave rooms, and send nothing else."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check_message(self, requester: Requester) -> None:
        """Raises UserSuspended. Redactions have a check of their own."""
        if requester.is_suspended:
            raise UserSuspended

    async def check_redaction(self, requester: Requester, redacts: str) -> None:
        """Raises UserSuspended: the event is not the requester's own."""
        if not requester.is_suspended:
            return
        async with self._database.connection("suspension") as connection:
            event = await events.event_by_id(connection, redacts)
        if event is None or event.sender != requester.user_id:
            raise UserSuspended

    def check_state(
        self, requester: Requester, event_type: str, state_key: str, membership: JsonValue
    ) -> None:
        """Raises UserSuspended, unless the user leaves a room."""
        is_leave = (event_type, state_key, membership) == (
            "m.room.member",
            requester.user_id,
            "leave",
        )
        if requester.is_suspended and not is_leave:
            raise UserSuspended
