"""Register an account at a running server by the shared secret.

The server offers a nonce; the answer proves knowledge of the secret with an HMAC over it.
This is the protocol of Synapse's admin API, which other tools speak too.
"""

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from typing import Any, Final

import msgspec

from homeserver.config.model import Config

PATH: Final = "/_synapse/admin/v1/register"
_TIMEOUT_SECONDS: Final = 30
_ALL_ADDRESSES: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - we connect to it


class RegistrationFailed(Exception):
    """The server cannot be reached, or refuses; the text is for the operator."""


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """The account to make."""

    name: str
    password: str
    is_admin: bool = False


def register(base_url: str, shared_secret: str, user: NewUser) -> str:
    """Register an account and return its user ID. Raises RegistrationFailed."""
    url = base_url.rstrip("/") + PATH
    nonce = call(url)["nonce"]
    answer = call(
        url,
        {
            "nonce": nonce,
            "username": user.name,
            "password": user.password,
            "admin": user.is_admin,
            "mac": proof(shared_secret, nonce, user),
        },
    )
    return str(answer["user_id"])


def proof(shared_secret: str, nonce: str, user: NewUser) -> str:
    """Return the HMAC-SHA1, in hexadecimal, that shows knowledge of the shared secret."""
    is_admin = "admin" if user.is_admin else "notadmin"
    message = "\0".join((nonce, user.name, user.password, is_admin)).encode()
    return hmac.new(shared_secret.encode(), message, hashlib.sha1).hexdigest()


def local_url(config: Config) -> str:
    """Return where this machine reaches the server's admin API. Raises RegistrationFailed."""
    for listener in config.listeners:
        if "admin" in listener.serves and listener.unix_socket is None and listener.port:
            address = _ALL_ADDRESSES.get(listener.address, listener.address)
            return msgspec.structs.replace(listener, address=address).base_url
    raise RegistrationFailed("no listener with a port serves `admin`: say where with --url")


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET, or POST a JSON body; return the JSON object that comes back.

    Raises RegistrationFailed.
    """
    if not url.startswith(("http://", "https://")):
        raise RegistrationFailed(f"{url} is not an address such as http://127.0.0.1:8008")
    request = urllib.request.Request(  # noqa: S310 - the scheme has just been checked
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise RegistrationFailed(_refusal(error)) from error
    except (OSError, ValueError) as error:
        raise RegistrationFailed(f"no homeserver answers at {url}: {error}") from error
    if not isinstance(answer, dict):
        raise RegistrationFailed(f"no homeserver answers at {url}")
    return answer


def _refusal(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            body = json.load(error)
        except ValueError:
            body = None
    if isinstance(body, dict) and "errcode" in body:
        return f"the server refuses: {body['errcode']}: {body.get('error', '')}"
    return f"the server refuses with status {error.code}"
