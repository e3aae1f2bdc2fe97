"""Registering an account by the shared secret."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener
from homeserver.run.register_user import (
    PATH,
    NewUser,
    RegistrationFailed,
    local_url,
    proof,
    register,
)

ALICE = NewUser(name="alice", password="pässword", is_admin=True)


class AdminApi(ThreadingHTTPServer):
    """Answers as the homeserver's endpoint would."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answer: tuple[int, bytes] = (200, b'{"user_id": "@alice:test"}')
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: AdminApi

    def do_GET(self) -> None:
        assert self.path == PATH
        self._answer(200, b'{"nonce": "thisisanonce"}')

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.bodies.append(json.loads(self.rfile.read(length)))
        self._answer(*self.server.answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[AdminApi]:
    with AdminApi() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_user_is_registered_with_the_proof(api: AdminApi) -> None:
    assert register(api.url + "/", "shared secret", ALICE) == "@alice:test"
    assert api.bodies == [
        {
            "nonce": "thisisanonce",
            "username": "alice",
            "password": "pässword",
            "admin": True,
            "mac": proof("shared secret", "thisisanonce", ALICE),
        }
    ]


def test_proof_is_the_published_algorithm() -> None:
    # printf 'thisisanonce\0pepper_roni\0pizza\0admin' | openssl sha1 -hmac shared_secret
    user = NewUser(name="pepper_roni", password="pizza", is_admin=True)
    assert (
        proof("shared_secret", "thisisanonce", user) == "48715842ad67d5dc9a9ee938a3bda4fcfae8d7c7"
    )
    plain = NewUser(name="pepper_roni", password="pizza")
    assert (
        proof("shared_secret", "thisisanonce", plain) == "cf2391885316861a8e3871bfdcd223ab3913221d"
    )


def test_refusal_is_shown(api: AdminApi) -> None:
    api.answer = (400, b'{"errcode": "M_USER_IN_USE", "error": "User ID already taken."}')
    with pytest.raises(RegistrationFailed, match="M_USER_IN_USE: User ID already taken"):
        register(api.url, "s", ALICE)


def test_answer_of_something_else_is_reported(api: AdminApi) -> None:
    api.answer = (502, b"<html>Bad Gateway</html>")
    with pytest.raises(RegistrationFailed, match="502"):
        register(api.url, "s", ALICE)


def test_server_that_is_down_is_reported() -> None:
    with pytest.raises(RegistrationFailed, match="no homeserver answers"):
        register("http://127.0.0.1:1", "s", ALICE)


def test_only_http_is_spoken() -> None:
    with pytest.raises(RegistrationFailed):
        register("file:///etc/passwd", "s", ALICE)


@pytest.mark.parametrize(
    ("listeners", "url"),
    [
        ([Listener()], "http://127.0.0.1:8008"),
        ([Listener(address="0.0.0.0", port=1)], "http://127.0.0.1:1"),
        ([Listener(address="::", port=1)], "http://[::1]:1"),
        ([Listener(serves=("client",)), Listener(port=2)], "http://127.0.0.1:2"),
    ],
)
def test_server_on_this_machine_is_found(listeners: list[Listener], url: str) -> None:
    assert local_url(Config(listeners=tuple(listeners))) == url


def test_server_without_a_port_must_be_named() -> None:
    with pytest.raises(RegistrationFailed, match="--url"):
        local_url(Config(listeners=(Listener(serves=("client",)),)))
