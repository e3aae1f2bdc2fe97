"""Path templates: the roots under which the APIs live, and the older names of them."""

import re
from enum import Enum
from typing import Final

import msgspec

_BRACES: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_TEMPLATE: Final = re.compile(r"/(?:[^{}\s?#]|\{[a-z][a-z0-9_]*\})*")


class Api(Enum):
    """What a listener may serve or leave out."""

    CLIENT = "client"
    FEDERATION = "federation"
    MEDIA = "media"
    ADMIN = "admin"
    METRICS = "metrics"
    HEALTH = "health"


class PathSet(msgspec.Struct, frozen=True):
    """A path template and the older or unstable names that answer the same.

    `{name}` takes one whole segment, percent-decoded, empty too.
    """

    canonical: str
    older: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every template, the canonical one first."""
        return (self.canonical, *self.older)


class PathRoot(msgspec.Struct, frozen=True):
    """A prefix of an API with the older prefixes that still answer: `CLIENT_V3 / "sync"`."""

    canonical: str
    older: tuple[str, ...] = ()

    def __truediv__(self, path: str) -> PathSet:
        if path.startswith("/"):
            raise ValueError(f"write the path relative to its root: {path!r}")
        return PathSet(
            f"{self.canonical}/{path}", tuple(f"{prefix}/{path}" for prefix in self.older)
        )


CLIENT: Final = PathRoot("/_matrix/client")
CLIENT_V1: Final = PathRoot("/_matrix/client/v1")
# r0 is what v1.0 clients say and some bridges and bots still do.
CLIENT_V3: Final = PathRoot("/_matrix/client/v3", ("/_matrix/client/r0",))
CLIENT_UNSTABLE: Final = PathRoot("/_matrix/client/unstable")
MEDIA_V1: Final = PathRoot("/_matrix/media/v1")
MEDIA_V3: Final = PathRoot("/_matrix/media/v3", ("/_matrix/media/r0", "/_matrix/media/v1"))
FEDERATION_V1: Final = PathRoot("/_matrix/federation/v1")
FEDERATION_V2: Final = PathRoot("/_matrix/federation/v2")
KEY_V2: Final = PathRoot("/_matrix/key/v2")
POLICY_V1: Final = PathRoot("/_matrix/policy/v1")
WELL_KNOWN: Final = PathRoot("/.well-known/matrix")


def names_in(template: str) -> tuple[str, ...]:
    """Return the names in braces, in order. Raises ValueError: no path template."""
    if not _TEMPLATE.fullmatch(template):
        raise ValueError(f"not a path template: {template!r}")
    names = tuple(_BRACES.findall(template))
    segments = template.split("/")
    if len(set(names)) != len(names):
        raise ValueError(f"a name stands twice in {template!r}")
    if sum("{" in segment for segment in segments) != len(names) or any(
        "{" in segment and not _BRACES.fullmatch(segment) for segment in segments
    ):
        raise ValueError(f"braces take a whole segment: {template!r}")
    return names


def apis_of(template: str) -> frozenset[Api]:
    """Return the APIs that a path belongs to. Raises ValueError: it is under no known root."""
    for prefix, apis in _APIS_BY_PREFIX:
        if template.startswith(prefix):
            return apis
    raise ValueError(f"no API is known to have {template!r}")


# The first prefix that fits decides.
_APIS_BY_PREFIX: Final = (
    ("/_matrix/client/v1/media/", frozenset({Api.CLIENT, Api.MEDIA})),
    ("/_matrix/client/", frozenset({Api.CLIENT})),
    ("/_matrix/static/", frozenset({Api.CLIENT})),
    ("/_matrix/media/", frozenset({Api.CLIENT, Api.MEDIA})),
    ("/_matrix/federation/v1/media/", frozenset({Api.FEDERATION, Api.MEDIA})),
    ("/_matrix/federation/", frozenset({Api.FEDERATION})),
    ("/_matrix/key/", frozenset({Api.FEDERATION})),
    ("/_matrix/policy/", frozenset({Api.FEDERATION})),
    ("/.well-known/matrix/server", frozenset({Api.FEDERATION, Api.CLIENT})),
    ("/.well-known/matrix/", frozenset({Api.CLIENT})),
    ("/_synapse/admin/", frozenset({Api.ADMIN})),
    ("/_synapse/client/", frozenset({Api.CLIENT})),
    ("/_homeserver/admin/", frozenset({Api.ADMIN})),
    ("/_homeserver/", frozenset({Api.CLIENT})),
    ("/metrics", frozenset({Api.METRICS})),
    ("/health", frozenset({Api.HEALTH})),
    ("/ready", frozenset({Api.HEALTH})),
    ("/openapi.json", frozenset({Api.CLIENT, Api.ADMIN})),
)
