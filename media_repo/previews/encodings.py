"""From the bytes of a page to its text.

In the order of the HTML standard: byte order mark, HTTP header, `<meta>` or XML declaration, and
then what fits: UTF-8, or what is usual in the page's language.
"""

import codecs
import re
from typing import Final

# The HTML standard has the declaration within the first 1,024 bytes; not all pages do.
_DECLARATION_BYTES: Final = 4096
_DECLARED: Final = re.compile(
    rb"""<(?:meta[^>]{0,500}?charset|\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([a-z0-9_:\-]{1,40})""",
    re.IGNORECASE,
)
_LANGUAGE: Final = re.compile(rb"""<html[^>]{0,500}?\blang\s*=\s*["']?([a-z]{2})""", re.IGNORECASE)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
# Encoding standard, section 4.2: labels by which browsers understand more than the name says.
# Only what is here is decoded: codecs of Python such as unicode_escape are no text of the web.
_CODECS: Final = {
    "utf8": "utf-8",
    "utf16": "utf-16-le",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "ascii": "cp1252",
    "usascii": "cp1252",
    "iso88591": "cp1252",
    "latin1": "cp1252",
    "windows1252": "cp1252",
    "iso88599": "cp1254",
    "iso88596": "iso8859-6",
    "tis620": "cp874",
    "iso885911": "cp874",
    "windows874": "cp874",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "macintosh": "mac-roman",
    "ibm866": "cp866",
    "cp866": "cp866",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "xgbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "big5hkscs": "big5hkscs",
    "eucjp": "euc-jp",
    "xeucjp": "euc-jp",
    "iso2022jp": "iso2022-jp",
    "shiftjis": "cp932",
    "xsjis": "cp932",
    "sjis": "cp932",
    "windows31j": "cp932",
    "euckr": "cp949",
    "ksc56011987": "cp949",
    "windows949": "cp949",
    **{f"iso8859{part}": f"iso8859-{part}" for part in (2, 3, 4, 5, 7, 8, 10, 13, 14, 15, 16)},
    **{f"windows{page}": f"cp{page}" for page in range(1250, 1259)},
    **{f"cp{page}": f"cp{page}" for page in range(1250, 1259)},
}
# What pages without a declaration are written in, by their language.
_USUAL: Final = {
    "ja": ("cp932", "euc-jp"),
    "zh": ("gb18030", "big5hkscs"),
    "ko": ("cp949",),
    "ru": ("cp1251", "koi8-r"),
    "uk": ("cp1251",),
    "bg": ("cp1251",),
    "el": ("cp1253",),
    "he": ("cp1255",),
    "ar": ("cp1256",),
    "tr": ("cp1254",),
    "pl": ("cp1250",),
    "cs": ("cp1250",),
    "hu": ("cp1250",),
    "th": ("cp874",),
    "vi": ("cp1258",),
}


def decode_page(raw: bytes, charset: str | None) -> str:
    """Return the text; `charset` is what the HTTP header says. What does not fit is replaced."""
    for mark, marked in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(marked, "replace")
    codec = _codec_of(charset) or _declared(raw)
    if codec is not None:
        return raw.decode(codec, "replace")
    for candidate in ("utf-8", *_candidates(raw)):
        if _fits(raw, candidate):
            return raw.decode(candidate, "replace")
    return raw.decode("cp1252", "replace")


def _codec_of(label: str | None) -> str | None:
    if label is None:
        return None
    return _CODECS.get(re.sub(r"[^a-z0-9]", "", label.lower()))


def _declared(raw: bytes) -> str | None:
    found = _DECLARED.search(raw[:_DECLARATION_BYTES])
    if found is None:
        return None
    codec = _codec_of(found[1].decode("ascii"))
    # Who could read the declaration has not read UTF-16.
    return "utf-8" if codec is not None and codec.startswith("utf-16") else codec


def _candidates(raw: bytes) -> tuple[str, ...]:
    found = _LANGUAGE.search(raw[:_DECLARATION_BYTES])
    return () if found is None else _USUAL.get(found[1].decode("ascii").lower(), ())


def _fits(raw: bytes, codec: str) -> bool:
    # Not the last: the page may have been cut off within a character.
    decoder = codecs.getincrementaldecoder(codec)("strict")
    try:
        decoder.decode(raw, final=False)
    except UnicodeDecodeError:
        return False
    return True
