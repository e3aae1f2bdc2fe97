import json
import sys
from enum import IntEnum
from pathlib import Path

import canonicaljson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.canonical_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_canonical,
    decode_json,
    encode_canonical,
    encode_canonical_lenient,
)
from homeserver.protocol.errors import InvalidJson

VECTORS = json.loads((Path(__file__).parent / "vectors/canonical_json.json").read_text())


class Color(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


def json_values(*numbers):
    scalars = st.one_of(st.none(), st.booleans(), st.text(), *numbers)
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=6), st.dictionaries(st.text(), inner, max_size=6)
        ),
        max_leaves=30,
    )


STRICT = json_values(st.integers(-MAX_INTEGER, MAX_INTEGER))
LENIENT = json_values(st.integers(), st.floats(allow_nan=False, allow_infinity=False))


def nested(depth, kind=list, inner=None):
    value = [] if inner is None else inner
    for _ in range(depth - 1):
        value = [value] if kind is list else {"k": value}
    return value


@pytest.mark.parametrize(("text", "canonical"), VECTORS["vectors"])
def test_the_examples_of_the_specification_hold(text, canonical):
    assert encode_canonical(decode_json(text.encode())) == canonical.encode()
    assert encode_canonical_lenient(decode_json(text.encode())) == canonical.encode()


def test_an_exponent_is_refused_by_strict_rooms_and_a_float_to_others():
    value = decode_json(VECTORS["exponent"]["text"].encode())

    with pytest.raises(InvalidJson):
        encode_canonical(value)
    assert encode_canonical_lenient(value) == VECTORS["exponent"]["as_older_rooms_hash_it"].encode()


@settings(deadline=None, max_examples=300)
@given(STRICT)
def test_strict_encoding_agrees_with_the_canonicaljson_library(value):
    assert encode_canonical(value) == canonicaljson.encode_canonical_json(value)


@settings(deadline=None, max_examples=300)
@given(LENIENT)
def test_lenient_encoding_agrees_with_the_canonicaljson_library(value):
    assert encode_canonical_lenient(value) == canonicaljson.encode_canonical_json(value)


@settings(deadline=None)
@given(STRICT)
def test_decoding_undoes_encoding(value):
    assert decode_json(encode_canonical(value)) == value


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers(0, 9), min_size=2))
def test_keys_are_sorted_by_code_point(value):
    assert list(decode_json(encode_canonical(value))) == sorted(value)


def test_code_points_beyond_the_basic_plane_sort_after_it():
    assert (
        encode_canonical({"\U00010000": 2, "\uffff": 1}) == '{"\uffff":1,"\U00010000":2}'.encode()
    )


@pytest.mark.parametrize(
    "control", [chr(code) for code in range(0x20)] + ["\x7f", "\u2028", "/", '"', "\\"]
)
def test_escapes_are_those_of_the_grammar(control):
    assert encode_canonical([control]) == canonicaljson.encode_canonical_json([control])


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 0])
def test_integers_up_to_the_limit_are_accepted(number):
    assert encode_canonical({"n": number}) == b'{"n":%d}' % number


@pytest.mark.parametrize(
    "number",
    [
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        2**64,
        -(2**200),
        1.5,
        1.0,
        -0.0,
        float("nan"),
        float("inf"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": {"b": [1, n]}}])
def test_other_numbers_are_refused_wherever_they_stand(number, wrap):
    with pytest.raises(InvalidJson):
        encode_canonical(wrap(number))


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (2**53, b"9007199254740992"),
        (2**64, b"18446744073709551616"),
        (-(2**100), b"-1267650600228229401496703205376"),
        (1.0, b"1.0"),
        (1e16, b"1e+16"),
        (1e-7, b"1e-07"),
        (-0.0, b"-0.0"),
    ],
)
def test_lenient_encoding_writes_numbers_as_the_servers_of_old_rooms_did(number, encoded):
    assert encode_canonical_lenient([number]) == b"[" + encoded + b"]"


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), float("-inf"), pytest.param(10**5000, id="long")]
)
def test_lenient_encoding_refuses_what_is_no_number_in_json(number):
    with pytest.raises(InvalidJson):
        encode_canonical_lenient({"n": number})


@pytest.mark.parametrize("encode", [encode_canonical, encode_canonical_lenient])
@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udfff": 1},
        ["fine", {"a": "x\ud83dx"}],
        {1: 2},
        {None: 1},
        {"a": {True: 1}},
        {1: 1.5},
        {"\ud800": 1.5},
        (1, 2),
        {"a": {1, 2}},
        b"bytes",
        bytearray(b"x"),
        Color.RED,
        Text("x"),
        object(),
    ],
)
def test_what_is_not_json_is_refused(encode, value):
    with pytest.raises(InvalidJson):
        encode(value)


@pytest.mark.parametrize("encode", [encode_canonical, encode_canonical_lenient])
@pytest.mark.parametrize("kind", [list, dict])
def test_nesting_is_limited(encode, kind):
    deepest = nested(MAX_DEPTH, kind, inner=["x"])

    assert encode(deepest).count(b"x") == 1
    with pytest.raises(InvalidJson):
        encode([deepest])


def test_a_caller_may_lower_the_nesting_limit():
    assert encode_canonical([["x"]], max_depth=2) == b'[["x"]]'
    with pytest.raises(InvalidJson):
        encode_canonical([["x"]], max_depth=1)


@pytest.mark.parametrize("encode", [encode_canonical, encode_canonical_lenient])
def test_a_value_that_contains_itself_is_refused(encode):
    value = []
    value.append(value)
    with pytest.raises(InvalidJson):
        encode(value)


@pytest.mark.parametrize("encode", [encode_canonical, encode_canonical_lenient])
@pytest.mark.parametrize("number", [1, 1.5])
def test_a_deep_stack_turns_deep_nesting_into_a_refusal(encode, number):
    value = nested(MAX_DEPTH, inner=[number])

    def descend(frames):
        return encode(value) if frames == 0 else descend(frames - 1)

    with pytest.raises(InvalidJson):
        descend(sys.getrecursionlimit() - 300)


def test_checking_refuses_what_encoding_refuses():
    check_canonical({"a": [1, None, True, "x"]})
    for value in (1.5, 2**53, "\ud800", {1: 2}):
        with pytest.raises(InvalidJson):
            check_canonical(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"{'a':1}",
        b"[1,]",
        b'{"a":1,}',
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1e400",
        b"// comment\n{}",
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'{"\xc0\x80":1}',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'"\\x"',
        b'"\x01"',
        b'"\n"',
        b'{"a"}',
        b"{1:2}",
        pytest.param(b"9" * 5000, id="long number"),
        pytest.param(b"[" * 100_000, id="arrays without end"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep arrays"),
        pytest.param(b'{"a":' * 100_000, id="objects without end"),
    ],
)
def test_decoding_refuses_what_is_not_json(raw):
    with pytest.raises(InvalidJson):
        decode_json(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b' {"a" : [1, 2.5, null, true] }\n', {"a": [1, 2.5, None, True]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\0"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"18446744073709551616", 2**64),
    ],
)
def test_decoding_reads_json(raw, value):
    assert decode_json(raw) == value


def test_whole_numbers_with_a_fraction_stay_floats():
    assert type(decode_json(b"1.0")) is float
    assert type(decode_json(b"1e2")) is float


@pytest.mark.parametrize("kind", [list, dict])
def test_decoding_limits_the_nesting_like_encoding(kind):
    deepest = nested(MAX_DEPTH, kind, inner=["x"])

    assert decode_json(encode_canonical(deepest)) == deepest
    with pytest.raises(InvalidJson):
        decode_json(b"[" + encode_canonical(deepest) + b"]")


def test_many_values_side_by_side_are_not_nesting():
    wide = [[{}] for _ in range(MAX_DEPTH)]

    assert decode_json(encode_canonical(wide)) == wide
