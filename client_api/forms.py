"""HTML forms that browsers send."""

from typing import Final
from urllib.parse import parse_qsl

from homeserver.errors import InvalidParam, TooLarge
from homeserver.web.params import Upload

MAX_FORM_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 50


async def read_form(upload: Upload) -> dict[str, str]:
    """Return the fields of a URL-encoded form; of a repeated one the last.

    Raises TooLarge, InvalidParam.
    """
    raw = bytearray()
    async for chunk in upload.chunks():
        raw += chunk
        if len(raw) > MAX_FORM_BYTES:
            raise TooLarge("The form is too large")
    try:
        fields = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as error:
        raise InvalidParam("This is not the form that was asked for") from error
    return dict(fields)
