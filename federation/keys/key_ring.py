"""The verify keys of servers: in memory, in the database, and from the network.

    key = await ring.request_key(server, key_id)                 # VerifyKey valid now, or None
    keys = await ring.keys_of({server: {key_id: minimum_ts}})    # {(server, key_id): VerifyKey}

Events are verified by `federation/keys/event_signatures.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias, TypeVar

import msgspec

from federation.keys.asking import AskedForStrangers, Cause, KeysBusy
from federation.keys.fetch import KeySource, Wanted
from federation.keys.own_keys import OwnKeys
from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.server_keys import KeyDocument, VerifyKey
from homeserver.storage import server_keys
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKeyRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

KeysFound: TypeAlias = dict[tuple[ServerName, KeyID], VerifyKey]
_Value = TypeVar("_Value")
_KeysOfServer: TypeAlias = Mapping[KeyID, VerifyKey]

_MAX_REMEMBERED: Final = 20_000
# "Requesting servers should limit how frequently they query for certificates": whoever names
# keys that do not exist makes us ask a server this often, no more.
_ASK_AGAIN_SECONDS: Final = 10.0
# A server that gives no keys is asked again after this, doubled each time up to the maximum.
_FIRST_RETRY_SECONDS: Final = 10.0
_MAX_RETRY_SECONDS: Final = 3600.0
# More than one request takes; it may be waiting behind those of a large room.
_STRANGERS_WAIT_SECONDS: Final = 15.0
# Of one server, the newest: two documents at their largest. Who publishes other keys each time
# must not fill the memory, nor the disk.
MAX_KEPT: Final = 200
# From so many servers on, notaries are asked first: one request instead of many.
_MANY_SERVERS: Final = 10


class _Asked(msgspec.Struct, frozen=True):
    """When a server was last asked, and how often in vain since it last answered."""

    next_at: float
    failures: int = 0


class KeyRing:
    """Knows the keys of servers."""

    def __init__(
        self,
        *,
        own_keys: OwnKeys,
        source: KeySource,
        database: Database,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._own_name = own_keys.server_name
        self._own = {each.key_id: each for each in own_keys.verify_keys()}
        self._source = source
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._known: OrderedDict[ServerName, _KeysOfServer] = OrderedDict()
        self._asked: OrderedDict[ServerName, _Asked] = OrderedDict()
        self._asking: dict[ServerName, asyncio.Task[None]] = {}
        self._strangers = AskedForStrangers()

    async def request_key(self, server: ServerName, key_id: KeyID) -> VerifyKey | None:
        """Return the key with which a server may sign requests now.

        Old keys do not count: they are "only valid for signing events". The server has spoken,
        so that it is asked even if it is left alone otherwise. Raises KeysBusy.
        """
        now_ms = self._clock.now_ms()
        wanted = {server: {key_id: now_ms}}
        key = (await self._find(wanted, Cause.REQUEST)).get((server, key_id))
        return key if key is not None and key.may_sign_requests(now_ms) else None

    async def keys_of(self, wanted: Mapping[ServerName, Wanted]) -> KeysFound:
        """Return what is known of some keys, after asking for those not valid for long enough.

        A key that is found may still not be valid at the time that was wanted.
        """
        return await self._find(wanted, Cause.EVENT)

    async def refresh(self, servers: Iterable[ServerName]) -> None:
        """Ask servers for their keys, each as often as is decent; for a notary."""
        due = [server for server in servers if server != self._own_name]
        await self._ask_servers(due, Cause.QUERY)

    async def _find(self, wanted: Mapping[ServerName, Wanted], cause: Cause) -> KeysFound:
        missing = self._missing(wanted)
        if missing:
            await self._read(missing)
            missing = self._missing(missing)
        if missing:
            await self._fetch(missing, cause)
        return {
            (server, key_id): key
            for server, of_server in wanted.items()
            for key_id in of_server
            if (key := self._keys(server).get(key_id)) is not None
        }

    def _keys(self, server: ServerName) -> _KeysOfServer:
        if server == self._own_name:
            return self._own
        return self._known.get(server, {})

    def _missing(self, wanted: Mapping[ServerName, Wanted]) -> dict[ServerName, Wanted]:
        """Return those that are not known to be valid for long enough."""
        missing: dict[ServerName, Wanted] = {}
        for server, of_server in wanted.items():
            keys = self._keys(server)
            if server in self._known:
                self._known.move_to_end(server)
            insufficient = {
                key_id: minimum_ts
                for key_id, minimum_ts in of_server.items()
                if (key := keys.get(key_id)) is None or not key.is_valid_at(minimum_ts)
            }
            if insufficient and server != self._own_name:
                missing[server] = insufficient
        return missing

    async def _fetch(self, missing: Mapping[ServerName, Wanted], cause: Cause) -> None:
        if len(missing) < _MANY_SERVERS:
            await self._ask_servers(missing, cause)
            await self._ask_notaries(self._missing(missing))
        else:
            await self._ask_notaries(missing)
            await self._ask_servers(self._missing(missing), cause)

    async def _ask_notaries(self, missing: Mapping[ServerName, Wanted]) -> None:
        if missing:
            await self._keep(await self._source.from_notaries(missing), is_direct=False)

    async def _ask_servers(self, servers: Iterable[ServerName], cause: Cause) -> None:
        """Ask servers for their keys, unless that was done lately; one request for each.

        Raises KeysBusy: for a request, and the server cannot be asked now.
        """
        now = self._clock.monotonic()
        tasks: list[asyncio.Task[None]] = []
        refused: list[ServerName] = []
        for server in servers:
            task = self._asking.get(server)
            if task is None:
                asked = self._asked.get(server)
                if asked is not None and asked.next_at > now:
                    continue
                if cause is not Cause.EVENT and not self._strangers.begin(server):
                    refused.append(server)
                    continue
                task = self._begin_to_ask(server, cause)
            tasks.append(task)
        if refused:
            log.warning("too many keys are fetched", count=len(refused), server=refused[0])
        is_late = await _end(tasks, None if cause is Cause.EVENT else _STRANGERS_WAIT_SECONDS)
        if cause is Cause.REQUEST and (refused or is_late):
            raise KeysBusy

    def _begin_to_ask(self, server: ServerName, cause: Cause) -> "asyncio.Task[None]":
        task = self._tasks.spawn("fetch keys", self._ask(server, cause))
        self._asking[server] = task

        def ended(_task: object) -> None:
            self._asking.pop(server, None)
            if cause is not Cause.EVENT:
                self._strangers.end(server)

        task.add_done_callback(ended)
        return task

    async def _ask(self, server: ServerName, cause: Cause) -> None:
        ignore_backoff = cause is Cause.REQUEST
        document = await self._source.from_server(server, ignore_backoff=ignore_backoff)
        now = self._clock.monotonic()
        if document is None:
            before = self._asked.get(server)
            failures = 1 if before is None else before.failures + 1
            wait = min(_FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20), _MAX_RETRY_SECONDS)
            asked = _Asked(now + wait, failures)
        else:
            asked = _Asked(now + _ASK_AGAIN_SECONDS)
            await self._keep([document], is_direct=True)
        _remember(self._asked, server, asked)

    async def _keep(self, documents: Iterable[KeyDocument], *, is_direct: bool) -> None:
        rows: list[ServerKeyRow] = []
        fetched_ts = self._clock.now_ms()
        for each in documents:
            raw = encode_canonical_lenient(each.document)
            self._warn_of_changes(each, is_direct=is_direct)
            rows += [
                ServerKeyRow(
                    key.server_name,
                    key.key_id,
                    key.key,
                    key.valid_until_ts,
                    key.expired_ts,
                    fetched_ts,
                    raw,
                )
                for key in each.keys
            ]
        if rows:
            servers = {row.server_name for row in rows}
            async with self._database.connection("server_keys.upsert") as connection:
                await server_keys.upsert(connection, rows, replaces=is_direct)
                await server_keys.forget_surplus(connection, list(servers), MAX_KEPT)
            # What counts is what was kept.
            await self._read(servers)

    def _warn_of_changes(self, document: KeyDocument, *, is_direct: bool) -> None:
        known = self._keys(document.server_name)
        for key in document.keys:
            before = known.get(key.key_id)
            if before is not None and before.key != key.key:
                log.warning(
                    "server has another key under the same ID",
                    server=document.server_name,
                    key_id=key.key_id,
                    accepted=is_direct,
                )

    async def _read(self, servers: Iterable[ServerName]) -> None:
        names = list(servers)
        async with self._database.connection("server_keys.read") as connection:
            rows = await server_keys.read(connection, names)
        found: dict[ServerName, dict[KeyID, VerifyKey]] = {}
        for row in rows:
            key = VerifyKey(
                server_name=row.server_name,
                key_id=row.key_id,
                key=row.verify_key,
                valid_until_ts=row.valid_until_ts,
                expired_ts=row.expired_ts,
            )
            found.setdefault(row.server_name, {})[row.key_id] = key
        for server, keys in found.items():
            _remember(self._known, server, keys)


async def _end(tasks: "Collection[asyncio.Task[None]]", timeout_seconds: float | None) -> bool:
    """Wait for tasks; whether some have not ended in time. They go on: others want to know."""
    return bool(tasks and (await asyncio.wait(tasks, timeout=timeout_seconds))[1])


def _remember(memory: OrderedDict[ServerName, _Value], server: ServerName, value: _Value) -> None:
    memory[server] = value
    memory.move_to_end(server)
    if len(memory) > _MAX_REMEMBERED:
        memory.popitem(last=False)
