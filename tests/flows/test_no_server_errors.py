"""Whatever is sent: no answer blames the server, and every refusal has the form of one.

Each operation that the server lists gets requests made by `tests/support/request_generator.py`.
`HOMESERVER_TEST_REQUESTS` sets how many; CI's number finds what is easy to find.
"""

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from homeserver.run.compose import RunningServer
from tests.support.client import Client, ClientMaker
from tests.support.request_generator import RequestGenerator, fault_of

COUNT = int(os.environ.get("HOMESERVER_TEST_REQUESTS", "12"))


async def _known(alice: Client, bob: Client) -> dict[str, tuple[str, ...]]:
    room_id = await alice.creates_room(preset="public_chat", room_alias_name="room")
    await bob.joins(room_id)
    event_id = await alice.sends(room_id, "hello")
    since = (await alice.syncs(timeout=0))["next_batch"]
    users = (alice.user_id, bob.user_id)
    tokens = (since, "t1_0")
    return {
        "room_id": (room_id,),
        "room_id_or_alias": (room_id, "#room:hs.example"),
        "room_alias": ("#room:hs.example",),
        "user_id": users,
        "event_id": (event_id,),
        "event_type": ("m.room.message", "m.room.name", "m.room.member", "m.room.power_levels"),
        "state_key": ("", *users),
        "device_id": (alice.device_id,),
        "from": tokens,
        "to": tokens,
        "since": tokens,
        "limit": ("0", "1", "10", "100000"),
        "dir": ("b", "f"),
        "kind": ("override", "room", "content"),
        "receipt_type": ("m.read", "m.read.private", "m.fully_read"),
        "rel_type": ("m.thread", "m.annotation"),
        "server_name": ("hs.example", "elsewhere.example"),
        "session": ("none",),
    }


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_request_makes_the_server_fail(
    server: RunningServer, clients: ClientMaker, tmp_path: Path, seed: int
) -> None:
    alice, bob = await clients.user("alice"), await clients.user("bob")
    document = await alice.get("/openapi.json")
    generator = RequestGenerator(document, seed, await _known(alice, bob))
    faults: list[str] = []
    async with aiohttp.ClientSession() as session:
        for number, (path, method, operation) in enumerate(generator.operations()):
            # Some requests end the session or the account that they are sent with.
            sender = await clients.user(f"sender{seed}x{number}")
            authorization = f"Bearer {sender.access_token}"
            requests = list(generator.requests(path, method, operation, COUNT))
            told = await asyncio.gather(
                *(fault_of(session, server.url, each, authorization) for each in requests)
            )
            faults += [
                f"{each.method} {each.path[:300]} {(each.body or b'')[:300]!r}: {fault}"
                for each, fault in zip(requests, told, strict=True)
                if fault
            ]
    assert not faults, "\n\n".join(faults[:40])
