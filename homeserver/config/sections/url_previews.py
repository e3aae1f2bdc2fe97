"""Section `url_previews`."""

from typing import Annotated

from homeserver.config.values import Section, later

_FEATURE = "URL previews"


class UrlPreviewsSection(Section, frozen=True, kw_only=True):
    """Fetching pages for clients that show a preview; section outgoing_http limits where from."""

    enabled: Annotated[
        bool, later(_FEATURE, "Whether pages are fetched. The server sees what users link to.")
    ] = False
    max_page_bytes: Annotated[
        int, later(_FEATURE, "How much of a page or image is read at most.", ge=1024)
    ] = 10 * 1024 * 1024
    accept_languages: Annotated[
        tuple[str, ...], later(_FEATURE, "Languages to ask pages for, best first.")
    ] = ("en",)
    blocked_hosts: Annotated[
        tuple[str, ...],
        later(_FEATURE, "Hosts that are never previewed; patterns with * and ?."),
    ] = ()
