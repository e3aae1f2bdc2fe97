"""Refusals that only the media repository knows. Spec: client-server-api/#content-repository"""

from homeserver.errors import NamedError


class NotYetUploaded(NamedError):
    """The media has an ID but no content yet."""

    STATUS, ERRCODE, TEXT = 504, "M_NOT_YET_UPLOADED", "The content is not uploaded yet"


class CannotOverwriteMedia(NamedError):
    """The media has content already."""

    STATUS, ERRCODE, TEXT = 409, "M_CANNOT_OVERWRITE_MEDIA", "The content is uploaded already"
