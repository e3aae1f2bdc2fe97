"""Section `rate_limits`."""

from typing import Annotated

from homeserver.config.values import Section, about


class RateLimitSettings(Section, frozen=True, kw_only=True):
    """A bucket that holds `burst` requests and is refilled steadily."""

    per_second: Annotated[float, about("Requests in a second, in the long run.", gt=0)]
    burst: Annotated[int, about("Requests at once.", ge=1)]


def _limit(per_second: float, burst: int) -> RateLimitSettings:
    return RateLimitSettings(per_second=per_second, burst=burst)


class RateLimitGroups(Section, frozen=True, kw_only=True):
    """Each group has one bucket for every user, or IP address before login."""

    default: Annotated[RateLimitSettings, about("Whatever has no group of its own.")] = _limit(
        50, 200
    )
    login: Annotated[RateLimitSettings, about("Logging in.")] = _limit(0.5, 20)
    registration: Annotated[RateLimitSettings, about("Registering accounts.")] = _limit(0.5, 20)
    message: Annotated[RateLimitSettings, about("Sending events.")] = _limit(10, 100)
    join: Annotated[RateLimitSettings, about("Joining and knocking.")] = _limit(1, 30)
    invite: Annotated[RateLimitSettings, about("Inviting.")] = _limit(1, 30)
    media: Annotated[RateLimitSettings, about("Uploads and URL previews.")] = _limit(5, 50)
    search: Annotated[RateLimitSettings, about("Searching.")] = _limit(2, 20)
    keys: Annotated[RateLimitSettings, about("Encryption keys.")] = _limit(20, 200)
    mail: Annotated[RateLimitSettings, about("Mails to one address.")] = _limit(0.005, 5)
    federation: Annotated[RateLimitSettings, about("Each other server.")] = _limit(100, 1000)
    unsigned: Annotated[
        RateLimitSettings,
        about("What comes from one public address as of another server and is not signed by it."),
    ] = _limit(1, 100)


class RateLimitsSection(Section, frozen=True, kw_only=True):
    """How fast a user may go; beyond it, requests get 429 M_LIMIT_EXCEEDED."""

    enabled: Annotated[bool, about("The one switch that turns all limits off.")] = True
    groups: Annotated[RateLimitGroups, about("The limits.")] = RateLimitGroups()
