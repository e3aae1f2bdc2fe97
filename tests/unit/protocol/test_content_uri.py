"""`mxc://` URIs."""

import pytest

from homeserver.protocol.content_uri import parse_content_uri
from homeserver.protocol.errors import InvalidIdentifier


@pytest.mark.parametrize(
    "text", ["mxc://a.example/abc_-9", "mxc://[::1]:8448/x", "mxc://1.2.3.4/" + "x" * 255]
)
def test_uri_comes_back_as_it_was(text: str) -> None:
    assert str(parse_content_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mxc://",
        "mxc://a.example",
        "mxc://a.example/",
        "mxc:///abc",
        "MXC://a.example/abc",
        "http://a.example/abc",
        "mxc://a.example/abc/def",
        "mxc://a.example/abc?x=y",
        "mxc://a.example/abc#x",
        "mxc://a.example/../abc",
        "mxc://127.0.0.1/../../../some_service/etc/passwd",
        "mxc://a.example/%2e%2e",
        "mxc://user@a.example/abc",
        "mxc://a.example/a\n",
        "mxc://a.example/ä",
        "mxc://a.example/" + "x" * 256,
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_content_uri(text)
