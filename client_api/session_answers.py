"""How a session that has begun is told to the client, in one form for all who begin one."""

from msgspec import UNSET, Struct, UnsetType

from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.sessions import OpenedSession


class SessionAnswer(Struct, frozen=True, kw_only=True):
    """A user, and the tokens of a session unless none was wanted."""

    user_id: UserID
    # Deprecated; "note also that `homeserver` is not spelt this way".
    home_server: ServerName
    access_token: str | UnsetType = UNSET
    device_id: DeviceID | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    expires_in_ms: int | UnsetType = UNSET
    well_known: JsonObject | UnsetType = UNSET


def session_answer(
    session: OpenedSession, *, well_known: JsonObject | None = None
) -> SessionAnswer:
    """Return the answer to a login or registration."""
    tokens = session.tokens
    return SessionAnswer(
        user_id=session.user_id,
        home_server=server_name_of(session.user_id),
        access_token=tokens.access_token,
        device_id=session.device_id,
        refresh_token=UNSET if tokens.refresh_token is None else tokens.refresh_token,
        expires_in_ms=UNSET if tokens.expires_in_ms is None else tokens.expires_in_ms,
        well_known=UNSET if well_known is None else well_known,
    )
