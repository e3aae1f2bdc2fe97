"""Section `push`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Section, about


class PushSection(Section, frozen=True, kw_only=True):
    """Notifications for devices, by push gateways, Web Push and e-mail."""

    max_age_ms: Annotated[
        int,
        about(
            "How long a notification waits for a gateway that does not answer; it is lost"
            " afterwards. 86400000 is a day.",
            ge=60_000,
        ),
    ] = 86_400_000
    email_delay_ms: Annotated[
        int,
        about("How long a message may stay unread before it is told of by e-mail.", ge=1_000),
    ] = 600_000
    email_interval_ms: Annotated[
        int, about("How long after a mail the next one is sent at the earliest.", ge=1_000)
    ] = 3_600_000
    web_push_key_path: Annotated[
        Path | None,
        about(
            "File with the secret from which the key of Web Push is made; it is made if it does"
            " not exist. When absent, web_push.key in the data folder. Browsers that were told of"
            " another key get nothing any more."
        ),
    ] = None
    web_push_contact: Annotated[
        str | None,
        about(
            "Whom push services may ask, as a URL that begins with mailto: or https:, such as"
            " mailto:admin@example.org."
        ),
    ] = None
