"""Asking other servers for keys: all at once, each until the deadline, and what they may say."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from homeserver.errors import MatrixError, RemoteError
from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject

DEFAULT_TIMEOUT_MS: Final = 10_000  # "10 seconds is the recommended default"
MAX_TIMEOUT_MS: Final = 60_000

_Wanted = TypeVar("_Wanted")


class Asked(msgspec.Struct, frozen=True):
    """What servers have answered, and how the others have failed, by server."""

    answers: dict[ServerName, JsonObject]
    failures: dict[ServerName, JsonObject]


def by_server(wanted: Mapping[UserID, _Wanted]) -> dict[ServerName, dict[UserID, _Wanted]]:
    """Sort what is wanted of users by their servers."""
    servers: dict[ServerName, dict[UserID, _Wanted]] = {}
    for user_id, each in wanted.items():
        servers.setdefault(server_name_of(user_id), {})[user_id] = each
    return servers


async def ask_servers(
    servers: Mapping[ServerName, _Wanted],
    ask: Callable[[ServerName, _Wanted], Awaitable[JsonObject]],
    timeout_ms: int,
) -> Asked:
    """Ask servers at the same time; who has not answered by the deadline has failed."""
    asked = Asked({}, {})
    seconds = max(0, min(timeout_ms, MAX_TIMEOUT_MS)) / 1000

    async def ask_one(server: ServerName, wanted: _Wanted) -> None:
        try:
            async with asyncio.timeout(seconds):
                asked.answers[server] = await ask(server, wanted)
        except TimeoutError:
            asked.failures[server] = _failure(504, "The server did not answer in time")
        except RemoteError:
            asked.failures[server] = _failure(503, "The server cannot be reached")
        except MatrixError as error:
            asked.failures[server] = _failure(error.status, error.error)

    await asyncio.gather(*(ask_one(server, wanted) for server, wanted in servers.items()))
    return asked


def objects_in(answer: JsonObject, name: str) -> dict[str, JsonObject]:
    """Return the objects in a member of an answer; whatever else is there is left out."""
    member = answer.get(name)
    if not isinstance(member, dict):
        return {}
    return {key: value for key, value in member.items() if isinstance(value, dict)}


def _failure(status: int, message: str) -> JsonObject:
    return {"status": status, "message": message}
