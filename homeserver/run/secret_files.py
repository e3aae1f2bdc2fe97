"""Secrets that the server makes for itself and keeps in files.

A file is readable by its owner only, complete from the moment it exists, and made once even
when several processes start together. Nodes on several machines need the same files.
"""

import os
import secrets
import string
from pathlib import Path
from typing import Final

from homeserver.protocol.errors import InvalidSigningKey
from homeserver.protocol.signing import (
    SEED_BYTES,
    SigningKey,
    read_signing_key,
    signing_key_from_seed,
    write_signing_key,
)

_VERSION_LETTERS: Final = string.ascii_letters + string.digits
_SECRET_BYTES: Final = 32


def load_signing_key(path: Path) -> SigningKey:
    """Read the key that this server signs with; make it if the file does not exist.

    The format is that of the signedjson library. Raises OSError; InvalidSigningKey, which
    names the file: a damaged key is never replaced, since other servers know it.
    """
    text = _read_or_make(path, write_signing_key(_new_signing_key()))
    try:
        return read_signing_key(text)
    except InvalidSigningKey as error:
        raise InvalidSigningKey(f"{path} holds no signing key: {error}") from error


def load_secret(path: Path) -> bytes:
    """Read 32 random bytes that only this server knows; make them if the file does not exist.

    Raises OSError; ValueError: the file holds something else.
    """
    secret = bytes.fromhex(_read_or_make(path, secrets.token_hex(_SECRET_BYTES) + "\n"))
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"{path} does not hold {_SECRET_BYTES} bytes in hexadecimal")
    return secret


def _new_signing_key() -> SigningKey:
    # A name of its own for every key: other servers cache keys by name.
    name = "".join(secrets.choice(_VERSION_LETTERS) for _ in range(4))
    return signing_key_from_seed(f"a_{name}", secrets.token_bytes(SEED_BYTES))


def _read_or_make(path: Path, new_text: str) -> str:
    if not path.exists():
        _make(path, new_text)
    return path.read_text("utf-8", errors="replace")


def _make(path: Path, text: str) -> None:
    """Make a file unless another process is quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces what is there.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
