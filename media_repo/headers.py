"""The headers with which media is served, so that browsers do not run what users upload.

Spec: client-server-api/#content-repository, client-server-api/#serving-inline-content
"""

import re
from email.message import Message
from typing import Final
from urllib.parse import quote

UNKNOWN_TYPE: Final = "application/octet-stream"
# client-server-api/#content-repository: "The recommended policy is"
_POLICY: Final = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
    "style-src 'unsafe-inline'; object-src 'self';"
)
# client-server-api/#serving-inline-content
INLINE_TYPES: Final = frozenset(
    {
        "text/css",
        "text/plain",
        "text/csv",
        "application/json",
        "application/ld+json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/apng",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        "audio/mp4",
        "audio/webm",
        "audio/aac",
        "audio/mpeg",
        "audio/ogg",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/flac",
        "audio/x-flac",
    }
)
# Content never changes under its URI; but it may be taken away, so a day must be enough.
PRIVATE_CACHING: Final = "private, max-age=86400, immutable"
PUBLIC_CACHING: Final = "public, max-age=86400, immutable"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 calls it so
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[\x20-\x7e]*)?")
_MAX_TYPE: Final = 255
_PLAIN_NAME: Final = re.compile(r"[\x20-\x7e]*")
MAX_FILENAME: Final = 255
_MAX_DISPOSITION: Final = 4096


def media_headers(
    content_type: str, filename: str | None, *, caching: str = PRIVATE_CACHING
) -> dict[str, str]:
    """Return the headers of media besides type, length and entity tag."""
    return {
        "Content-Disposition": content_disposition(content_type, filename),
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # Search engines have no business here.
        "X-Robots-Tag": "noindex, nofollow, noarchive, noimageindex",
        "Cache-Control": caching,
    }


def content_disposition(content_type: str, filename: str | None) -> str:
    """Return `inline` for what browsers show safely, else `attachment`, with the name if any."""
    kind = "inline" if essence_of(content_type) in INLINE_TYPES else "attachment"
    if not filename:
        return kind
    if _PLAIN_NAME.fullmatch(filename):
        escaped = filename.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{escaped}"'
    return f"{kind}; filename*=utf-8''{quote(filename, safe='')}"


def essence_of(content_type: str) -> str:
    """Return the type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def safe_content_type(stated: str | None) -> str:
    """Return a stated type if it is one, else `application/octet-stream`."""
    stated = (stated or "").strip()
    if len(stated) <= _MAX_TYPE and _MEDIA_TYPE.fullmatch(stated):
        return stated
    return UNKNOWN_TYPE


def filename_in(disposition: str | None) -> str | None:
    """Return the file name of a `Content-Disposition` header of another server, if it has one."""
    if not disposition or len(disposition) > _MAX_DISPOSITION:
        return None
    message = Message()
    message["Content-Disposition"] = disposition.replace("\r", " ").replace("\n", " ")
    try:
        name = message.get_filename()
    except (ValueError, LookupError):
        return None
    return clean_filename(name)


def clean_filename(name: str | None) -> str | None:
    """Return a name that can be stored and shown, cut to 255 characters; None: there is none."""
    if not name:
        return None
    storable = name.encode("utf-8", "replace").decode().replace("\0", "")
    return storable[:MAX_FILENAME] or None
