"""Section `url_previews`."""

from typing import Annotated, Final

from homeserver.config.values import Section, about


class OEmbedProvider(Section, frozen=True, kw_only=True):
    """A site that is asked about its pages, which do not tell much themselves."""

    endpoint: Annotated[str, about("Where to ask.")]
    urls: Annotated[
        tuple[str, ...],
        about("Which pages: patterns with * and ? for host and path, without www."),
    ]


_PROVIDERS: Final = (
    OEmbedProvider(
        endpoint="https://www.youtube.com/oembed",
        urls=(
            "youtube.com/watch*",
            "m.youtube.com/watch*",
            "music.youtube.com/watch*",
            "youtube.com/shorts/*",
            "youtube.com/live/*",
            "youtube.com/playlist*",
            "youtu.be/*",
        ),
    ),
    OEmbedProvider(endpoint="https://vimeo.com/api/oembed.json", urls=("vimeo.com/*",)),
    OEmbedProvider(
        endpoint="https://publish.twitter.com/oembed",
        urls=(
            "twitter.com/*/status/*",
            "mobile.twitter.com/*/status/*",
            "x.com/*/status/*",
        ),
    ),
    OEmbedProvider(endpoint="https://www.tiktok.com/oembed", urls=("tiktok.com/*/video/*",)),
    OEmbedProvider(endpoint="https://soundcloud.com/oembed", urls=("soundcloud.com/*",)),
    OEmbedProvider(endpoint="https://open.spotify.com/oembed", urls=("open.spotify.com/*",)),
    OEmbedProvider(endpoint="https://www.reddit.com/oembed", urls=("reddit.com/r/*/comments/*",)),
    OEmbedProvider(
        endpoint="https://www.flickr.com/services/oembed/", urls=("flickr.com/photos/*",)
    ),
)


class UrlPreviewsSection(Section, frozen=True, kw_only=True):
    """Fetching pages for clients that show a preview; section outgoing_http limits where from."""

    enabled: Annotated[
        bool, about("Whether pages are fetched. The server sees what users link to.")
    ] = True
    max_page_bytes: Annotated[
        int, about("How much of a page or image is read at most.", ge=1024)
    ] = 10 * 1024 * 1024
    timeout_ms: Annotated[
        int, about("How long a page or image may take to come.", ge=100, le=60_000)
    ] = 10_000
    accept_languages: Annotated[
        tuple[str, ...],
        about("Languages to ask pages for, best first, when a client names none."),
    ] = ("en",)
    allowed_hosts: Annotated[
        tuple[str, ...],
        about(
            "The only hosts that are previewed; patterns with * and ?. One with a slash is for"
            " host and path, such as example.com/blog/*. Empty: all."
        ),
    ] = ()
    blocked_hosts: Annotated[
        tuple[str, ...],
        about("Hosts, or hosts with paths, that are never previewed; patterns as above."),
    ] = ()
    oembed_providers: Annotated[
        tuple[OEmbedProvider, ...],
        about("Sites with oEmbed, each with endpoint and urls. Other pages may name theirs."),
    ] = _PROVIDERS
    fresh_minutes: Annotated[
        float, about("How long a preview is given out before the page is fetched anew.", gt=0)
    ] = 60
    kept_days: Annotated[float, about("How long previews and their images are kept.", gt=0)] = 30
