"""Requests become typed parameters, or the refusal that says what to change."""

import contextlib
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType, field

from homeserver.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from homeserver.protocol.identifiers import RoomAlias, RoomID, ServerName, UserID
from homeserver.web.decoding import (
    MAX_QUERY_FIELDS,
    BodyDecoder,
    PathDecoder,
    QueryDecoder,
    RawBodyDecoder,
    query_fields,
)
from homeserver.web.params import Body, Params, Query


class ReceiptPath(Params, frozen=True):
    room_id: RoomID | RoomAlias
    receipt_type: Literal["m.read", "m.read.private"]
    version: int = 0


class MessagesQuery(Query, frozen=True):
    dir: Literal["b", "f"]
    from_: str | UnsetType = field(name="from", default=UNSET)
    limit: Annotated[int, Meta(ge=0)] = 10
    full_state: bool = False
    via: tuple[ServerName, ...] = ()
    user_id: UserID | None = None


class InviteBody(Body, frozen=True):
    user_id: UserID
    reason: Annotated[str, Meta(max_length=5)] | UnsetType = UNSET
    others: tuple[UserID, ...] = ()


class OptionalBody(Body, frozen=True):
    name: str = ""


decode_path = PathDecoder(ReceiptPath)
decode_query = QueryDecoder(MessagesQuery)
decode_body = BodyDecoder(InviteBody)


def test_a_path_becomes_its_struct() -> None:
    path = decode_path({"room_id": "!a:b", "receipt_type": "m.read", "version": "3"})
    assert path == ReceiptPath(room_id=RoomID("!a:b"), receipt_type="m.read", version=3)


@pytest.mark.parametrize(
    ("field_name", "text"),
    [("room_id", "a"), ("receipt_type", "m.x"), ("version", "x"), ("room_id", "!a\0:b")],
)
def test_a_wrong_segment_is_an_invalid_param_that_names_the_field(
    field_name: str, text: str
) -> None:
    segments = {"room_id": "!a:b", "receipt_type": "m.read", field_name: text}
    with pytest.raises(InvalidParam, match=field_name):
        decode_path(segments)


def test_a_query_becomes_its_struct() -> None:
    query = decode_query("dir=b&from=s1&limit=5&full_state=true&via=a.org&via=b.org&other=1")
    assert query == MessagesQuery(
        dir="b",
        from_="s1",
        limit=5,
        full_state=True,
        via=(ServerName("a.org"), ServerName("b.org")),
    )


def test_escapes_and_plus_signs_are_resolved_in_a_query() -> None:
    query = decode_query("dir=b&from=a%2Bb+c%C3%A4")
    assert isinstance(query, MessagesQuery)
    assert query.from_ == "a+b cä"


def test_the_first_of_repeated_values_counts() -> None:
    query = decode_query("dir=b&dir=f")
    assert isinstance(query, MessagesQuery)
    assert query.dir == "b"


def test_an_empty_value_is_a_value() -> None:
    query = decode_query("dir=b&from=")
    assert isinstance(query, MessagesQuery)
    assert query.from_ == ""


@pytest.mark.parametrize("text", ["", "limit=5", "direction=b"])
def test_an_absent_required_query_parameter_is_missing(text: str) -> None:
    with pytest.raises(MissingParam, match="dir"):
        decode_query(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dir=x", "dir"),
        ("dir=b&limit=x", "limit"),
        ("dir=b&limit=", "limit"),
        ("dir=b&limit=-1", "limit"),
        ("dir=b&full_state=perhaps", "full_state"),
        ("dir=b&via=a.org&via=%20", "via"),
        ("dir=b&user_id=x", "user_id"),
        ("dir=b&from=%00", "from"),
        ("dir=b&from=%ff", "UTF-8"),
        ("dir=b&from=\udcff", "UTF-8"),
    ],
)
def test_a_wrong_query_value_is_an_invalid_param_that_names_it(text: str, name: str) -> None:
    with pytest.raises(InvalidParam, match=name):
        decode_query(text)


def test_a_query_has_a_limit() -> None:
    assert len(query_fields("&".join(["a"] * MAX_QUERY_FIELDS))) == MAX_QUERY_FIELDS
    with pytest.raises(InvalidParam):
        query_fields("&".join(["a"] * (MAX_QUERY_FIELDS + 1)))


def test_a_body_becomes_its_struct_and_unknown_members_are_ignored() -> None:
    body = decode_body(b'{"user_id":"@a:b","reason":"why","extra":[1]}')
    assert body == InviteBody(user_id=UserID("@a:b"), reason="why")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"nonsense", b'{"user_id":NaN}', b'{"user_id":"@a:b\xff"}', b'{"a":"\\ud800"}'],
)
def test_what_is_no_json_is_told_so(raw: bytes) -> None:
    with pytest.raises(NotJson):
        decode_body(raw)


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"1", b"null", b'{"user_id":1}'])
def test_json_of_the_wrong_type_is_bad_json(raw: bytes) -> None:
    with pytest.raises(BadJson):
        decode_body(raw)


@pytest.mark.parametrize("start", [b"[", b'{"x":', b'{"user_id":'])
def test_deep_json_is_refused(start: bytes) -> None:
    with pytest.raises((BadJson, NotJson)):
        decode_body(start * 100_000)


def test_an_absent_member_is_missing() -> None:
    with pytest.raises(MissingParam, match="user_id"):
        decode_body(b"{}")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"user_id":"bob"}', r"\$\.user_id"),
        (b'{"user_id":"@a:b","others":["@a:b","c"]}', r"\$\.others\[1\]"),
        (b'{"user_id":"@a:b","reason":"too long"}', r"\$\.reason"),
        (b'{"user_id":"@a:b","reason":"\\u0000"}', r"\$\.reason"),
    ],
)
def test_a_wrong_value_is_an_invalid_param_with_its_json_path(raw: bytes, path: str) -> None:
    with pytest.raises(InvalidParam, match=path):
        decode_body(raw)


def test_a_wrong_type_is_told_with_its_json_path() -> None:
    with pytest.raises(BadJson, match=r"\$\.others\[0\]"):
        decode_body(b'{"user_id":"@a:b","others":[1]}')


def test_an_absent_body_is_empty_when_nothing_is_required() -> None:
    assert BodyDecoder(OptionalBody)(b"") == OptionalBody()


def test_a_decoded_body_converts_like_its_bytes() -> None:
    assert decode_body.convert({"user_id": "@a:b"}) == InviteBody(user_id=UserID("@a:b"))
    with pytest.raises(MissingParam):
        decode_body.convert({})
    with pytest.raises(BadJson):
        decode_body.convert([])
    with pytest.raises(InvalidParam):
        decode_body.convert({"user_id": "@a:b", "reason": "\0"})


def test_any_json_object_is_a_raw_body() -> None:
    raw = b'{"a": [1, {"b": null}]}'
    body = RawBodyDecoder()(raw)
    assert body.content == {"a": [1, {"b": None}]}
    assert body.raw == raw


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"", NotJson),
        (b"{", NotJson),
        (b'{"a":NaN}', NotJson),
        (b"[1]", BadJson),
        (b"null", BadJson),
    ],
)
def test_a_raw_body_is_still_a_json_object(raw: bytes, refusal: type[MatrixError]) -> None:
    with pytest.raises(refusal):
        RawBodyDecoder()(raw)


@given(st.binary() | st.text().map(str.encode))
def test_no_body_breaks_the_decoders(raw: bytes) -> None:
    for decode in (decode_body, RawBodyDecoder()):
        with contextlib.suppress(MatrixError):
            decode(raw)


@given(st.text(st.characters(), max_size=50))
def test_no_query_breaks_the_decoder(text: str) -> None:
    with contextlib.suppress(MatrixError):
        decode_query(text)


# The router has refused what is not UTF-8 before.
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_no_segment_breaks_the_decoder(text: str) -> None:
    with contextlib.suppress(MatrixError):
        decode_path({"room_id": text, "receipt_type": text, "version": text})
