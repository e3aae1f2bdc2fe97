"""User-interactive authentication: sessions that any node may continue.

Spec: client-server-api/#user-interactive-authentication-api
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from nacl.secret import SecretBox

from homeserver.errors import Forbidden, UiaRequired
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.uia import AuthAttempt, Flows, UiaSession, next_stages, parse_auth
from homeserver.services.uia_stages import Stage, StageAttempt, StageFailed
from homeserver.storage import uia_sessions
from homeserver.storage.database import Database, Transaction
from homeserver.storage.uia_sessions import NewUiaSession, UiaSessionRow
from homeserver.telemetry.clock import Clock
from homeserver.web.params import RequestFacts

# Long enough to find a mail with a link in it.
SESSION_LIFETIME_MS: Final = 24 * 3600 * 1000
# A client that did not get its answer may repeat the request this long; it shall not have the
# power of the session for longer than that.
COMPLETED_LIFETIME_MS: Final = 3600 * 1000
_NO_REQUEST: Final = b"{}"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a session authorises; a session of one operation is no use for another."""

    # Constant text and, for an operation on one thing, which one: `delete device ABC`.
    name: str
    # None: nobody is logged in.
    user_id: UserID | None
    # True: a session carries it out once, for operations of which each needs consent.
    is_single_use: bool = False


class UiaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brings to its authentication."""

    auth: JsonObject | None
    # The body as JSON, without `auth`; `{}` when there is nothing else in it.
    body: bytes
    facts: RequestFacts


class CompletedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has completed a flow, and what its stages found out, by stage."""

    session_hash: bytes
    proofs: Mapping[str, str]
    # The body to carry out, without `auth`: of this request, or of the last that had one.
    body: bytes
    # What the session has registered before.
    registered_user_id: UserID | None
    registered_device_id: DeviceID | None


class Uia:
    """Asks for authentication until a flow is complete."""

    def __init__(self, database: Database, stages: Sequence[Stage], clock: Clock) -> None:
        self._database = database
        self._stages: Final = {stage.name: stage for stage in stages}
        self._clock = clock

    async def require(
        self, operation: Operation, flows: Flows, request: UiaRequest
    ) -> CompletedSession:
        """Return when the request shows a session that has completed one of the flows.

        Raises UiaRequired: there is more to do, or a stage failed; InvalidJson: `auth` is
        malformed; Forbidden: the session is for something else; whatever a stage raises.
        """
        attempt = parse_auth(request.auth if request.auth is not None else {})
        if attempt.session is None and attempt.type is None:
            raise UiaRequired((await self._begin(operation, flows, request)).challenge())
        if attempt.session is None:
            # A client that knows the flow may try its first stage at once.
            session = await self._begin(operation, flows, request)
        else:
            session = await self._continued(operation, flows, request, attempt.session)
        session = await self._attempt(session, operation, attempt, request.facts)
        if not session.is_satisfied:
            raise UiaRequired(session.challenge())
        return await self._complete(operation, session, request)

    async def peek(self, auth: JsonObject | None) -> CompletedSession | None:
        """Return the session that an `auth` names, complete or not. Raises InvalidJson."""
        session_id = parse_auth(auth if auth is not None else {}).session
        row = await self._row(session_id) if session_id is not None else None
        if session_id is None or row is None:
            return None
        return _completed(session_id, row, _NO_REQUEST)

    async def is_pending(self, session_id: str, stage: str) -> bool:
        """Whether a session waits for a stage; False: the stage is completed.

        Raises Forbidden: the session is over, or another stage comes first.
        """
        row = await self._row(session_id)
        if row is None:
            raise Forbidden("This authentication session is over")
        return _is_next(row, stage)

    async def operation_of(self, session_id: str) -> Operation | None:
        """Return what a session is to authorise; None: it is over."""
        row = await self._row(session_id)
        return None if row is None else Operation(name=row.operation, user_id=row.user_id)

    async def prepare_apart(
        self, session_id: str, stage: str, members: JsonObject, facts: RequestFacts
    ) -> Mapping[str, str]:
        """Do what a stage needs before it can be attempted on a fallback page, if anything.

        Raises as `attempt_apart` does.
        """
        row = await self._row(session_id)
        if row is None:
            raise Forbidden("This authentication session is over")
        if not _is_next(row, stage):
            return {}
        attempt = StageAttempt(
            user_id=row.user_id, members=members, ip=facts.ip, operation=row.operation
        )
        return await self._stages[stage].prepare(attempt)

    async def attempt_apart(
        self, session_id: str, stage: str, members: JsonObject, facts: RequestFacts
    ) -> None:
        """Complete a stage outside of the client, on a fallback page.

        Raises StageFailed: try again; Forbidden: the session is over, or another stage comes
        first; whatever a stage raises. Spec: client-server-api/#fallback
        """
        row = await self._row(session_id)
        if row is None:
            raise Forbidden("This authentication session is over")
        if _is_next(row, stage):
            attempt = StageAttempt(
                user_id=row.user_id, members=members, ip=facts.ip, operation=row.operation
            )
            await self._pass(session_id, self._stages[stage], attempt)

    async def complete_apart(
        self, session_id: str, stage: str, user_id: UserID, proof: str
    ) -> None:
        """Complete a stage that a user has passed elsewhere.

        Raises StageFailed, Forbidden: the session is over, or another user's, or another stage
        comes first.
        """
        row = await self._row(session_id)
        if row is None:
            raise Forbidden("This authentication session is over")
        if row.user_id != user_id:
            raise Forbidden("You have logged in as another user")
        if _is_next(row, stage):
            await self._record(session_id, self._stages[stage], proof)

    def params_of(self, stage: str) -> JsonObject | None:
        """Return what a stage tells clients; None: nothing, or there is no such stage."""
        known = self._stages.get(stage)
        return known.params() if known is not None else None

    async def _begin(self, operation: Operation, flows: Flows, request: UiaRequest) -> UiaSession:
        session_id = secrets.token_urlsafe(32)
        sealed = _seal(session_id, request.body) if request.body != _NO_REQUEST else None
        async with self._database.connection("begin_uia") as connection:
            await uia_sessions.insert(
                connection,
                NewUiaSession(
                    _hash(session_id),
                    operation.name,
                    operation.user_id,
                    msgspec.json.encode(flows).decode(),
                    self._clock.now_ms() + SESSION_LIFETIME_MS,
                    sealed,
                ),
            )
        return UiaSession(session_id=session_id, flows=flows, params=self._params(flows))

    async def _continued(
        self, operation: Operation, flows: Flows, request: UiaRequest, session_id: str
    ) -> UiaSession:
        row = await self._row(session_id)
        if row is None:
            fresh = await self._begin(operation, flows, request)
            raise UiaRequired(fresh.challenge("M_UNAUTHORIZED", "The session is unknown, or over"))
        if (row.operation, row.user_id) != (operation.name, operation.user_id):
            raise Forbidden("This session was begun for another operation")
        if request.body not in (_NO_REQUEST, _request_in(session_id, row)):
            async with self._database.connection("continue_uia") as connection:
                await uia_sessions.set_request(
                    connection, _hash(session_id), _seal(session_id, request.body)
                )
        return UiaSession(
            session_id=session_id,
            flows=flows,
            params=self._params(flows),
            completed=_stages_of(row),
        )

    async def _attempt(
        self,
        session: UiaSession,
        operation: Operation,
        attempt: AuthAttempt,
        facts: RequestFacts,
    ) -> UiaSession:
        """Try the stage that the request names, if any, and return how far the session is."""
        name = attempt.type
        # Completed stages "cannot be retried": the answer is how far the session has come.
        if name is None or name in session.completed:
            return session
        if not session.may_attempt(name):
            raise UiaRequired(
                session.challenge("M_UNAUTHORIZED", "This stage is not the next of any flow")
            )
        try:
            await self._pass(
                session.session_id,
                self._stages[name],
                StageAttempt(
                    user_id=operation.user_id,
                    members=attempt.members,
                    ip=facts.ip,
                    operation=operation.name,
                ),
            )
        except StageFailed as failure:
            raise UiaRequired(session.challenge(failure.errcode, failure.error)) from failure
        return session.with_completed(name)

    async def _pass(self, session_id: str, stage: Stage, attempt: StageAttempt) -> None:
        await self._record(session_id, stage, await stage.verify(attempt))

    async def _record(self, session_id: str, stage: Stage, proof: str) -> None:
        session_hash = _hash(session_id)

        async def work(tx: Transaction) -> None:
            if not await uia_sessions.lock_session(tx, session_hash):
                raise StageFailed("M_UNAUTHORIZED", "The session is over")
            await stage.claim(tx, proof)
            await uia_sessions.complete_stage(tx, session_hash, stage.name, proof)

        await self._database.run_transaction(work, "complete_uia_stage")

    async def _complete(
        self, operation: Operation, session: UiaSession, request: UiaRequest
    ) -> CompletedSession:
        row = await self._row(session.session_id)
        if row is None or not await self._end(operation, session.session_id):
            fresh = await self._begin(operation, session.flows, request)
            raise UiaRequired(fresh.challenge("M_UNAUTHORIZED", "The session is over"))
        return _completed(session.session_id, row, request.body)

    async def _end(self, operation: Operation, session_id: str) -> bool:
        """End a session, at once or soon; False: another request was quicker."""
        async with self._database.connection("end_uia") as connection:
            if operation.is_single_use:
                return await uia_sessions.delete(connection, _hash(session_id))
            ends_ms = self._clock.now_ms() + COMPLETED_LIFETIME_MS
            await uia_sessions.shorten(connection, _hash(session_id), ends_ms)
            return True

    async def _row(self, session_id: str) -> UiaSessionRow | None:
        async with self._database.connection("uia_session") as connection:
            return await uia_sessions.session_of(
                connection, _hash(session_id), self._clock.now_ms()
            )

    def _params(self, flows: Flows) -> JsonObject:
        names = {name for flow in flows for name in flow}
        told = {name: self._stages[name].params() for name in names}
        return {name: params for name, params in told.items() if params is not None}


def body_without_auth(body: msgspec.Struct) -> bytes:
    """Return a decoded body as JSON again, without `auth` and what is absent or null."""
    members = msgspec.to_builtins(body)
    kept = {name: value for name, value in members.items() if name != "auth" and value is not None}
    return msgspec.json.encode(kept)


def _stages_of(row: UiaSessionRow) -> tuple[str, ...]:
    return tuple(stage for stage, _ in row.completed)


def _is_next(row: UiaSessionRow, stage: str) -> bool:
    """Whether a stage may be attempted; False: it is completed. Raises Forbidden: neither."""
    completed = _stages_of(row)
    if stage in completed:
        return False
    if stage not in next_stages(msgspec.json.decode(row.flows, type=Flows), completed):
        raise Forbidden("This is not the next step of the authentication")
    return True


def _completed(session_id: str, row: UiaSessionRow, body: bytes) -> CompletedSession:
    return CompletedSession(
        session_hash=_hash(session_id),
        proofs=dict(row.completed),
        body=_request_in(session_id, row) if body == _NO_REQUEST else body,
        registered_user_id=row.registered_user_id,
        registered_device_id=row.registered_device_id,
    )


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()


def _box(session_id: str) -> SecretBox:
    return SecretBox(hashlib.sha256(b"request of " + session_id.encode()).digest())


def _seal(session_id: str, body: bytes) -> bytes:
    return bytes(_box(session_id).encrypt(body))


def _request_in(session_id: str, row: UiaSessionRow) -> bytes:
    if row.sealed_request is None:
        return _NO_REQUEST
    return _box(session_id).decrypt(row.sealed_request)
