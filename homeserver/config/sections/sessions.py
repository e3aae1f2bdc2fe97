"""Section `sessions`."""

from typing import Annotated, TypeAlias

import msgspec

from homeserver.config.values import Section, about

_Lifetime: TypeAlias = Annotated[int, msgspec.Meta(ge=60_000)]


class SessionsSection(Section, frozen=True, kw_only=True):
    """How long tokens live. Expired access tokens log out softly: clients keep their keys."""

    access_token_lifetime_ms: Annotated[
        _Lifetime | None,
        about("For clients that cannot refresh their tokens. Absent: until they log out."),
    ] = None
    refreshable_access_token_lifetime_ms: Annotated[
        _Lifetime, about("For clients that can refresh their tokens.")
    ] = 3_600_000
    refresh_token_lifetime_ms: Annotated[
        _Lifetime | None,
        about("How long such a client may stay away before it must log in again. Absent: forever."),
    ] = None
    login_tokens_enabled: Annotated[
        bool,
        about("Whether users may log in another device from one that is logged in (get_token)."),
    ] = True
    login_token_lifetime_ms: Annotated[int, about("For such a token.", ge=5_000)] = 120_000
