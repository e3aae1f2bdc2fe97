"""Section `media`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from homeserver.config.sections.media_retention import MediaRetentionSection
from homeserver.config.values import Secret, Section, about

_MIB = 1024 * 1024


class ObjectStoreSection(Section, frozen=True, kw_only=True):
    """A bucket that holds the files instead of this machine."""

    url: Annotated[
        str | None,
        about(
            "Such as s3://bucket/prefix, gs://bucket or az://account/container. Absent: files"
            " are in the folder."
        ),
    ] = None
    options: Annotated[
        Mapping[str, str],
        about(
            "What the service wants to know: for S3 endpoint, region and access_key_id, for"
            " Azure account_name, and so on."
        ),
    ] = msgspec.field(default_factory=dict)
    secret: Annotated[
        Secret | None,
        about(
            "The credential: the secret access key of S3, the service account key of GCS as"
            " JSON, the account key of Azure. Absent: what the environment or the machine gives."
        ),
    ] = None
    secret_file: Annotated[Path | None, about("File that holds the credential instead.")] = None
    allow_http: Annotated[
        bool, about("Whether the endpoint may be http://, as with a store next door.")
    ] = False
    cache_max_bytes: Annotated[
        int, about("How much of it is kept on this machine too; 0: nothing.", ge=0)
    ] = 10 * 1024 * _MIB
    redirects: Annotated[
        bool,
        about(
            "Whether clients and servers are sent to the object store with a signed URL. It"
            " then answers them without file names and types, and without the headers that"
            " keep browsers from running what they get."
        ),
    ] = False


class UploadLimit(Section, frozen=True, kw_only=True):
    """How much one user may upload in a time."""

    period_seconds: Annotated[int, about("The time.", ge=1)]
    max_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None, about("How many bytes in it. Absent: any.")
    ] = None
    max_files: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None, about("How many files in it. Absent: any.")
    ] = None


class ScanSection(Section, frozen=True, kw_only=True):
    """A scanner that looks at files. When it cannot be asked, nothing passes."""

    command: Annotated[
        tuple[str, ...],
        about(
            "Program and arguments; the path of the file comes last. It ends with 0: clean, 1:"
            " refused; anything else is a failure. Empty: none."
        ),
    ] = ()
    url: Annotated[
        str | None,
        about(
            "Instead: where files are sent with POST. It answers 200 to 299: clean, 403, 406 or"
            " 422: refused; anything else is a failure. Absent: none."
        ),
    ] = None
    timeout_ms: Annotated[int, about("How long it may take for one file.", ge=1)] = 60_000
    at_once: Annotated[int, about("How many files are scanned at the same time.", ge=1)] = 4
    on_download: Annotated[
        bool,
        about("Whether files are scanned anew when somebody reads them, at most once an hour."),
    ] = False


class MediaSection(Section, frozen=True, kw_only=True):
    """Uploaded and cached files."""

    path: Annotated[
        Path | None,
        about(
            "Folder for media, and for what arrives or is cached. Absent: media in the data folder."
        ),
    ] = None
    object_store: ObjectStoreSection = ObjectStoreSection()
    max_upload_bytes: Annotated[int, about("The largest upload; clients are told.", ge=1)] = (
        100 * _MIB
    )
    max_remote_bytes: Annotated[
        int, about("The largest file that is fetched from another server.", ge=1)
    ] = 1024 * _MIB
    blocked_servers: Annotated[
        tuple[str, ...],
        about("Servers whose media is not passed on; patterns with * and ?."),
    ] = ()
    upload_limits: Annotated[
        tuple[UploadLimit, ...],
        about("How much a user may upload; each has period_seconds, max_bytes, max_files."),
    ] = ()
    pending_lifetime_hours: Annotated[
        float, about("How long an upload that was announced may take to come.", gt=0)
    ] = 24
    max_pending_uploads: Annotated[
        int, about("How many announced uploads a user may have at once.", ge=1)
    ] = 50
    freeze_unauthenticated_ts: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        about(
            "The deprecated paths, which need no access token, give out only what came before"
            " this time, in ms since 1970. 0: nothing. null: everything."
        ),
    ] = 0
    remove_locations: Annotated[
        bool,
        about(
            "Whether the place where a picture was taken is blanked in uploads (Exif and XMP of"
            " JPEG, PNG, WebP, AVIF, HEIF). Nothing else changes; encrypted uploads cannot be seen"
            " into."
        ),
    ] = False
    scan: ScanSection = ScanSection()
    retention: MediaRetentionSection = MediaRetentionSection()
