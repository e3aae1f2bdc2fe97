"""What the `Authorization` header of servers says, however it is written."""

import pytest

from federation.x_matrix import (
    InvalidAuthorization,
    XMatrix,
    authorization_header,
    is_x_matrix,
    read_authorization,
    signed_object,
)
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.signing import signing_key_from_seed, verify_json

KEY = signing_key_from_seed("1", b"\x01" * 32)
CLAIMS = XMatrix(
    origin=ServerName("origin.example:8448"),
    key_id=KeyID("ed25519:1"),
    signature="AB+/cd",
    destination="me.example",
)
REST = 'destination="me.example",key="ed25519:1",sig="AB+/cd"'


@pytest.mark.parametrize(
    "header",
    [
        f'X-Matrix origin="origin.example:8448",{REST}',
        f'x-matrix origin="origin.example:8448",{REST}',
        f'X-Matrix    origin="origin.example:8448" \t,\t {REST}',
        f'X-Matrix ORIGIN="origin.example:8448",{REST}',
        f"X-Matrix origin=origin.example:8448,{REST}",
        "X-Matrix key=ed25519:1,sig=AB+/cd,destination=me.example,origin=origin.example:8448",
        f'X-Matrix origin="origin\\.example:8448",{REST}',
        f'X-Matrix origin="origin.example:8448",colour="a,b=\\"c\\"",{REST}',
        (
            'X-Matrix origin="origin.example:8448",destination="me.example",key="ed25519:1",'
            'signature="AB+/cd"'
        ),
    ],
)
def test_header_is_read_as_rfc_9110_and_older_servers_write_it(header: str) -> None:
    assert is_x_matrix(header)
    assert read_authorization(header) == CLAIMS


def test_destination_may_be_absent() -> None:
    header = 'X-Matrix origin="a.example",key="ed25519:1",sig="AB"'
    assert read_authorization(header).destination is None


@pytest.mark.parametrize(
    "header",
    [
        "X-Matrix",
        "X-Matrix ",
        "X-Matrix origin",
        f"X-Matrix {REST}",
        'X-Matrix origin="a.example",sig="AB"',
        'X-Matrix origin="a.example",key="ed25519:1"',
        f'X-Matrix origin="a b",{REST}',
        f'X-Matrix origin="a.example" {REST}',
        f'X-Matrix origin="a.example",origin="b.example",{REST}',
        f'X-Matrix origin="a.example,{REST}',
        'X-Matrix origin="a.example",key="1",sig="AB"',
        'X-Matrix origin="a.example",key="ed25519:1",sig=é',
        f"X-Matrix {','.join(f'a{number}=1' for number in range(30))},{REST}",
    ],
)
def test_what_is_no_such_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidAuthorization):
        read_authorization(header)


def test_other_schemes_are_told_apart() -> None:
    assert not is_x_matrix("Bearer token")
    assert not is_x_matrix("X-Matrixorigin=a")


@pytest.mark.parametrize("content", [None, {"pdus": [{"a": 1.5}], "ä": "\n"}, {}])
def test_signature_covers_method_target_servers_and_body(content: object) -> None:
    header = authorization_header(
        method="PUT",
        uri="/_matrix/federation/v1/send/1?a=%20",
        origin=ServerName("a.example"),
        destination=ServerName("b.example"),
        body=None if content is None else _encoded(content),
        key=KEY,
    )
    claims = read_authorization(header)
    assert (claims.origin, claims.destination) == ("a.example", "b.example")
    signed = {
        "method": "PUT",
        "uri": "/_matrix/federation/v1/send/1?a=%20",
        "origin": "a.example",
        "destination": "b.example",
        "signatures": {"a.example": {"ed25519:1": claims.signature}},
    }
    if content is not None:
        signed["content"] = content
    verify_json(signed, "a.example", "ed25519:1", KEY.verify_key)


def test_signed_object_has_what_the_header_and_the_request_say() -> None:
    claims = read_authorization('X-Matrix origin="a.example",key="ed25519:1",sig="AB"')
    assert signed_object(claims, method="POST", uri="/x", content=[]) == {
        "method": "POST",
        "uri": "/x",
        "origin": "a.example",
        "content": [],
        "signatures": {"a.example": {"ed25519:1": "AB"}},
    }


def _encoded(content: object) -> bytes:
    if content == {}:
        return encode_canonical(content)
    return '{"pdus":[{"a":1.5}],"ä":"\\n"}'.encode()
