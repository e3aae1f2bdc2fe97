"""Setting `media.retention`."""

from typing import Annotated

import msgspec

from homeserver.config.values import Section, about

_Days = Annotated[float, msgspec.Meta(gt=0)]


class MediaRetentionSection(Section, frozen=True, kw_only=True):
    """When media goes by itself. What is protected, quarantined or an avatar stays."""

    remote_unused_days: Annotated[
        _Days | None,
        about(
            "Media of other servers goes when nobody has read it for this long; it can be"
            " fetched again while its server is there. Absent: never."
        ),
    ] = None
    remote_max_days: Annotated[
        _Days | None, about("Media of other servers goes so long after it came. Absent: never.")
    ] = None
    local_unused_days: Annotated[
        _Days | None,
        about("Uploads go for good when nobody has read them for this long. Absent: never."),
    ] = None
    local_max_days: Annotated[
        _Days | None, about("Uploads go for good at this age. Absent: never.")
    ] = None
    remove_redacted: Annotated[
        bool,
        about(
            "Whether files of a redacted message are removed when no other event, profile or"
            " account data of the sender names them. Encrypted messages cannot be seen into: a"
            " file that was forwarded from an open room to an encrypted one goes too."
        ),
    ] = True
