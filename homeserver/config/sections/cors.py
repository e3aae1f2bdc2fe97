"""Section `cors`."""

from typing import Annotated

from homeserver.config.values import Section, about


class CorsSection(Section, frozen=True, kw_only=True):
    """Which web pages may use the client API. Spec: client-server-api/#web-browser-clients"""

    allowed_origins: Annotated[
        tuple[str, ...],
        about(
            "Origins such as https://app.example.org; the specification recommends '*', any:"
            " requests carry a token, no cookies."
        ),
    ] = ("*",)
