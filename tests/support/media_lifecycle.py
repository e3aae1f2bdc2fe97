"""Waiting until the server has seen to the media of redacted events."""

import itertools
from typing import Any

from tests.support.client import Client
from tests.support.media import downloads, uploads

ATTEMPTS = 500
_NUMBERS = itertools.count()


async def is_there(client: Client, uri: str) -> bool:
    """Whether media can be downloaded."""
    status = (await downloads(client, uri, allow_remote="false")).status
    assert status in (200, 404), status
    return status == 200


async def shows(client: Client, room_id: str, uri: str, **info: Any) -> str:
    """Send a message with an image."""
    content = {"msgtype": "m.image", "body": "image", "url": uri, "info": info}
    return await client.sends(room_id, content)


async def is_gone(client: Client, uri: str) -> None:
    """Wait until media can no longer be downloaded."""
    for _ in range(ATTEMPTS):
        if not await is_there(client, uri):
            return
    raise AssertionError(f"{uri} is still there")


async def looked_after(client: Client, room_id: str) -> None:
    """Wait until the server has dealt with everything before; leaves a redacted message."""
    uri = await uploads(client, f"canary {next(_NUMBERS)}".encode())
    await client.redacts(room_id, await shows(client, room_id, uri))
    await is_gone(client, uri)
