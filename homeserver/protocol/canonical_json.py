"""JSON as Matrix hashes and signs it, and the strict reading of JSON from outside.

Spec: appendices/#canonical-json
"""

import json
from typing import Final

import msgspec

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonValue

# appendices/#canonical-json: "[-(2**53)+1, (2**53)-1]"
MAX_INTEGER: Final = 2**53 - 1
# The C encoders and decoders recurse, and count against Python's limit of 1,000 together with
# the caller's own frames. 600 leaves 400 for those, and is far above what real events need.
MAX_DEPTH: Final = 600

_OTHER_SCALARS: Final = frozenset((bool, type(None)))
_fast = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder()
# Writes floats as Python does, which is what the servers that signed events with floats used;
# msgspec writes 1e16 where Python writes 1e+16.
_exact = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def encode_canonical(value: JsonValue, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Encode as Canonical JSON.

    Raises InvalidJson: a float, an integer beyond ±(2^53 - 1), a lone surrogate, a key that is
    no string, a type that is not JSON (tuples and subclasses too), or nesting over the limit.
    """
    if _has_loose_numbers(value, max_depth):
        raise InvalidJson("numbers must be integers within ±(2^53 - 1)")
    return _encode_fast(value)


def encode_canonical_lenient(value: JsonValue, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Encode for rooms that allow floats and large integers, and for signing anything else.

    The bytes are those of `encode_canonical` for every value which that accepts.
    Raises InvalidJson: NaN, infinity, or anything else that `encode_canonical` refuses.
    Spec: rooms/v1/#canonical-json
    """
    if not _has_loose_numbers(value, max_depth):
        return _encode_fast(value)
    _encode_fast(value)  # refuses keys that the exact encoder would turn into strings
    try:
        return _exact.encode(value).encode()
    except ValueError:
        raise InvalidJson("NaN and infinity have no encoding") from None


def check_canonical(value: JsonValue) -> None:
    """Raise InvalidJson unless `encode_canonical` would accept the value."""
    encode_canonical(value)


def decode_json(raw: bytes) -> JsonValue:
    """Decode JSON of unknown origin. A repeated key keeps its last value.

    Numbers with a fraction or an exponent become floats, even where they are whole.
    Raises InvalidJson: bad syntax, UTF-8 or surrogates; NaN; a float out of range; nesting
    over MAX_DEPTH.
    """
    try:
        value = _decoder.decode(raw)
    except (ValueError, RecursionError):
        raise InvalidJson("not valid JSON") from None
    # Few brackets cannot nest deeply, and counting them is much cheaper than walking.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _has_loose_numbers(value, MAX_DEPTH)
    return value


def _encode_fast(value: JsonValue) -> bytes:
    try:
        return _fast.encode(value)
    except UnicodeEncodeError:
        raise InvalidJson("strings cannot contain lone surrogates") from None
    except ValueError:
        raise InvalidJson("an integer has too many digits") from None
    except TypeError:
        raise InvalidJson("keys must be strings") from None
    except RecursionError:
        raise InvalidJson("nested too deeply for where it is encoded") from None


def _has_loose_numbers(value: JsonValue, max_depth: int) -> bool:
    """Look for floats and large integers, level by level, so that nothing recurses.

    Raises InvalidJson: a type that is not JSON, or nesting over `max_depth`.
    """
    found = False
    level = [value]
    for _ in range(max_depth + 1):
        below: list[JsonValue] = []
        for item in level:
            kind = type(item)
            if kind is str:
                continue
            if kind is dict:
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif kind is int:
                found = found or not -MAX_INTEGER <= item <= MAX_INTEGER
            elif kind is float:
                found = True
            elif kind not in _OTHER_SCALARS:
                raise InvalidJson(f"{kind.__name__} is not a JSON type")
        if not below:
            return found
        level = below
    raise InvalidJson(f"nested deeper than {max_depth}")
