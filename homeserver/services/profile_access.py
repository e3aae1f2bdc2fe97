"""Who may read which profile, and who may change what of it.

Spec: client-server-api/#profiles, client-server-api/#mprofile_fields-capability
"""

from homeserver.config.sections.profiles import ProfilesSection
from homeserver.errors import Forbidden, GuestAccessForbidden, MissingToken
from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.discovery import Capability
from homeserver.services.profile_fields import AVATAR_URL, DISPLAY_NAME
from homeserver.storage import profiles
from homeserver.storage.database import Database
from homeserver.web.requester import Requester


class ProfileAccess:
    """Decides by the configuration and by who is in which room."""

    def __init__(
        self, database: Database, section: ProfilesSection, server_name: ServerName
    ) -> None:
        self._database = database
        self._section = section
        self._server_name = server_name

    async def check_may_read(self, requester: Requester | None, user_id: UserID) -> None:
        """Raises MissingToken: who asks has to be logged in; Forbidden."""
        if requester is None:
            # Who is nobody here does not make this server ask others, either.
            is_local = server_name_of(user_id) == self._server_name
            if self._section.readable_by != "anybody" or not is_local:
                raise MissingToken
            return
        if self._section.readable_by != "acquaintances" or requester.user_id == user_id:
            return
        if requester.is_admin or requester.appservice_id is not None:
            return
        async with self._database.connection("profile_access") as connection:
            if not await profiles.is_acquainted(connection, requester.user_id, user_id):
                # Users who do not exist are refused alike, as the specification recommends.
                raise Forbidden("You share no room with this user")

    async def check_server_may_read(self, server: ServerName, user_id: UserID) -> None:
        """Raises Forbidden: no user of the server may read the profile of a local user."""
        if self._section.readable_by != "acquaintances":
            return
        async with self._database.connection("profile_access") as connection:
            if not await profiles.is_acquainted_with_server(connection, server, user_id):
                raise Forbidden("No user of your server shares a room with this user")

    def check_may_change(self, requester: Requester, user_id: UserID, name: str) -> None:
        """Raises Forbidden, GuestAccessForbidden."""
        if requester.user_id != user_id:
            raise Forbidden("This is the profile of somebody else")
        # client-server-api/#guest-access: "Guest users may only modify their display name".
        if requester.is_guest and name != DISPLAY_NAME:
            raise GuestAccessForbidden("Guests may only change their display name")
        if name in self._section.fixed_fields:
            raise Forbidden(f"On this server users cannot change their {name}")

    def capabilities(self) -> dict[str, Capability]:
        """Return what the capabilities say about profiles, by name.

        "For backwards compatibility, servers that forbid setting the `displayname` profile field
        [...] MUST still present" `m.set_displayname`; the same goes for avatars.
        """
        return {
            "m.profile_fields": self._fields,
            "uk.tcpip.msc4133.profile_fields": self._fields,
            "m.set_displayname": self._fixed(DISPLAY_NAME),
            "m.set_avatar_url": self._fixed(AVATAR_URL),
        }

    async def _fields(self, requester: Requester) -> JsonObject:
        fixed = self._section.fixed_fields
        if requester.is_guest:
            return {"enabled": True, "allowed": [n for n in (DISPLAY_NAME,) if n not in fixed]}
        return {"enabled": True, **({"disallowed": list(fixed)} if fixed else {})}

    def _fixed(self, name: str) -> Capability:
        async def tell(_requester: Requester) -> JsonObject | None:
            return {"enabled": False} if name in self._section.fixed_fields else None

        return tell
