import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest
import unpaddedbase64
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidBase64
from homeserver.protocol.unpadded_base64 import (
    decode_base64,
    encode_base64,
    encode_urlsafe_base64,
)

VECTORS = json.loads((Path(__file__).parent / "vectors/unpadded_base64.json").read_text())[
    "vectors"
]


@pytest.mark.parametrize(("plain", "encoded"), VECTORS)
def test_the_examples_of_the_specification_hold(plain, encoded):
    assert encode_base64(plain.encode()) == encoded
    assert decode_base64(encoded) == plain.encode()


@settings(deadline=None)
@given(st.binary())
def test_encoding_agrees_with_the_unpaddedbase64_library(raw):
    assert encode_base64(raw) == unpaddedbase64.encode_base64(raw)
    assert encode_urlsafe_base64(raw) == unpaddedbase64.encode_base64(raw, urlsafe=True)


@settings(deadline=None)
@given(st.binary())
def test_every_form_of_base64_decodes(raw):
    assert decode_base64(encode_base64(raw)) == raw
    assert decode_base64(encode_urlsafe_base64(raw)) == raw
    assert decode_base64(b64encode(raw).decode()) == raw
    assert decode_base64(urlsafe_b64encode(raw).decode()) == raw


def test_the_alphabets_differ_in_two_digits():
    assert encode_base64(b"\xfb\xff\xbe") == "+/++"
    assert encode_urlsafe_base64(b"\xfb\xff\xbe") == "-_--"


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "A=A", "AA AA", "AAA\n", "AA!A", "äAAA", "AA\0A", "\ud800AAA"]
)
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(InvalidBase64):
        decode_base64(text)
