"""Who may call an endpoint, and how often."""

import zlib
from typing import Any

import pytest
from yarl import URL

from homeserver.config.sections.listeners import Listener
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.web import unverified
from homeserver.web.answers import Empty
from homeserver.web.authenticators import Assertion
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, RawBody
from homeserver.web.paths import CLIENT_V1, CLIENT_V3, FEDERATION_V1
from homeserver.web.requester import Requester
from tests.unit.web.conftest import ALICE, Serve, Served

WHOAMI = "/_matrix/client/v3/account/whoami"


class RoomPath(Params, frozen=True):
    room_id: RoomID


class EventsBody(Body, frozen=True):
    limit: int = 10


class ClientRoutes:
    @endpoint(
        "GET", CLIENT_V3 / "account/whoami", auth=Auth.ACCESS_TOKEN, rate_limit=None, spec="ours/#a"
    )
    async def whoami(self, requester: Requester) -> Requester:
        """Tell who asks."""
        return requester

    @endpoint(
        "GET",
        CLIENT_V3 / "open",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="ours/#a",
        guests=True,
        while_locked=True,
    )
    async def open_to_all(self) -> Empty:
        """Answer guests and locked users too."""
        return Empty()

    @endpoint(
        "GET",
        CLIENT_V3 / "sending",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="ours/#a",
        while_suspended=False,
    )
    async def sending(self) -> Empty:
        """Refuse suspended users."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "versions", auth=Auth.OPTIONAL, rate_limit=None, spec="ours/#a")
    async def versions(self, requester: Requester | None) -> dict[str, Any]:
        """Tell who asks, if anyone."""
        return {"user_id": requester and requester.user_id}

    @endpoint(
        "POST", CLIENT_V1 / "ping", auth=Auth.APPSERVICE_TOKEN, rate_limit=None, spec="ours/#a"
    )
    async def ping(self, requester: Requester) -> dict[str, Any]:
        """Tell which application service asks."""
        return {"id": requester.appservice_id}

    @endpoint(
        "GET",
        "/_synapse/admin/v1/users",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="ours/#a",
        admin=True,
    )
    async def users(self) -> Empty:
        """Answer administrators."""
        return Empty()

    @endpoint(
        "GET", CLIENT_V3 / "limited", auth=Auth.OPTIONAL, rate_limit=RateLimit.LOGIN, spec="ours/#a"
    )
    async def limited(self) -> Empty:
        """Answer not too often."""
        return Empty()


class FederationRoutes:
    @endpoint(
        "GET",
        FEDERATION_V1 / "state/{room_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=None,
        spec="ours/#a",
    )
    async def state(self, origin: ServerName, path: RoomPath) -> dict[str, Any]:
        """Tell which server asks."""
        return {"origin": origin, "room_id": path.room_id}

    @endpoint(
        "PUT", FEDERATION_V1 / "send", auth=Auth.SERVER_SIGNATURE, rate_limit=None, spec="ours/#a"
    )
    async def send(self, origin: ServerName, body: RawBody) -> dict[str, Any]:
        """Tell the body."""
        return {"content": body.content, "raw": body.raw.decode()}

    @endpoint(
        "POST",
        FEDERATION_V1 / "events",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.LOGIN,
        spec="ours/#a",
    )
    async def events(self, body: EventsBody) -> dict[str, Any]:
        """Tell the limit."""
        return {"limit": body.limit}

    @endpoint(
        "PUT", FEDERATION_V1 / "none", auth=Auth.SERVER_SIGNATURE, rate_limit=None, spec="ours/#a"
    )
    async def no_body(self) -> Empty:
        """Read no body, which is signed all the same."""
        return Empty()


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve(ClientRoutes(), FederationRoutes())


async def refusal(served: Served, path: str, token: str | None = None) -> tuple[int, Any]:
    status, answer = await served.call("GET", path, token)
    assert isinstance(answer, dict)
    return status, answer.get("errcode")


async def test_a_bearer_token_names_the_requester(served: Served) -> None:
    status, answer = await served.call("GET", WHOAMI, "alice")
    assert (status, answer["user_id"]) == (200, ALICE.user_id)


async def test_the_scheme_is_read_in_any_case(served: Served) -> None:
    headers = {"Authorization": "bEARER  alice"}
    assert (await served.call("GET", WHOAMI, headers=headers))[0] == 200


async def test_an_access_token_in_the_query_still_works(served: Served) -> None:
    status, answer = await served.call("GET", f"{WHOAMI}?access_token=alice")
    assert (status, answer["user_id"]) == (200, ALICE.user_id)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "X-Matrix a=b"])
async def test_without_a_token_it_is_missing(served: Served, authorization: str) -> None:
    status, answer = await served.call("GET", WHOAMI, headers={"Authorization": authorization})
    assert (status, answer["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_an_unknown_token_is_told_so(served: Served) -> None:
    assert await refusal(served, WHOAMI, "nobody") == (401, "M_UNKNOWN_TOKEN")
    assert await refusal(served, f"{WHOAMI}?access_token=nobody") == (401, "M_UNKNOWN_TOKEN")


async def test_an_expired_token_is_a_soft_logout(served: Served) -> None:
    _, answer = await served.call("GET", WHOAMI, "expired")
    assert answer["soft_logout"] is True


async def test_a_token_of_odd_bytes_is_unknown(served: Served) -> None:
    headers = {"Authorization": "Bearer \udcff\udcfe"}
    assert (await served.call("GET", WHOAMI, headers=headers))[0] == 401


async def test_guests_are_refused_unless_the_endpoint_takes_them(served: Served) -> None:
    assert await refusal(served, WHOAMI, "guest") == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert await refusal(served, "/_matrix/client/v3/open", "guest") == (200, None)


async def test_locked_users_are_softly_logged_out(served: Served) -> None:
    status, answer = await served.call("GET", WHOAMI, "locked")
    assert status == 401
    assert (answer["errcode"], answer["soft_logout"]) == ("M_USER_LOCKED", True)
    assert await refusal(served, "/_matrix/client/v3/open", "locked") == (200, None)


async def test_suspended_users_are_refused_where_the_endpoint_says_so(served: Served) -> None:
    sending = "/_matrix/client/v3/sending"
    assert await refusal(served, sending, "suspended") == (403, "M_USER_SUSPENDED")
    assert await refusal(served, WHOAMI, "suspended") == (200, None)


async def test_optional_authentication_takes_no_token_but_no_wrong_one(served: Served) -> None:
    versions = "/_matrix/client/v3/versions"
    assert await served.call("GET", versions) == (200, {"user_id": None})
    assert await served.call("GET", versions, "alice") == (200, {"user_id": "@alice:test"})
    assert await refusal(served, versions, "nobody") == (401, "M_UNKNOWN_TOKEN")


async def test_application_services_have_endpoints_of_their_own(served: Served) -> None:
    ping = "/_matrix/client/v1/ping"
    assert await served.call("POST", ping, "bridge") == (200, {"id": "irc"})
    status, answer = await served.call("POST", ping, "alice")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_administrators_have_endpoints_of_their_own(served: Served) -> None:
    users = "/_synapse/admin/v1/users"
    assert await refusal(served, users, "admin") == (200, None)
    assert await refusal(served, users, "alice") == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("query", "assertion"),
    [
        ("", Assertion()),
        ("?other=1", Assertion()),
        ("?user_id=%40u%3Atest", Assertion(user_id="@u:test")),
        ("?user_id=@a:b&user_id=@c:d", Assertion(user_id="@a:b")),
        ("?device_id=D", Assertion(device_id="D")),
        ("?org.matrix.msc3202.device_id=D", Assertion(device_id="D")),
    ],
)
async def test_an_asserted_identity_is_handed_to_whoever_knows_tokens(
    served: Served, query: str, assertion: Assertion
) -> None:
    await served.call("GET", WHOAMI + query, "bridge")
    assert served.tokens.assertions == [assertion]


async def test_facts_of_the_request_come_with_the_token(served: Served) -> None:
    await served.call("GET", WHOAMI, "alice", headers={"User-Agent": "phone"})
    [facts] = served.tokens.requests
    assert (facts.ip, facts.user_agent) == ("127.0.0.1", "phone")


async def limited_calls(served: Served, token: str | None, times: int) -> list[int]:
    path = "/_matrix/client/v3/limited"
    return [(await served.call("GET", path, token))[0] for _ in range(times)]


async def test_too_many_requests_are_told_when_to_come_back(served: Served) -> None:
    assert await limited_calls(served, "alice", 21) == [200] * 20 + [429]
    async with served.request("GET", "/_matrix/client/v3/limited", "alice") as response:
        answer = await response.json()
        assert response.headers["Retry-After"] == "2"
    assert (answer["errcode"], answer["retry_after_ms"]) == ("M_LIMIT_EXCEEDED", 2000)


async def test_users_are_limited_one_by_one_and_the_anonymous_by_address(served: Served) -> None:
    assert await limited_calls(served, "alice", 20) == [200] * 20
    assert await limited_calls(served, "bob", 20) == [200] * 20
    assert await limited_calls(served, None, 21) == [200] * 20 + [429]


async def test_those_who_are_not_limited_are_not_counted(served: Served) -> None:
    assert await limited_calls(served, "bridge", 25) == [200] * 25


async def test_a_signature_names_the_origin_and_covers_the_target_as_it_came(
    served: Served,
) -> None:
    path = "/_matrix/federation/v1/state/!a:b?event_id=$x%2Fy"
    url = URL(served.server.addresses[0] + path, encoded=True)
    async with served.http.get(url, headers={"Authorization": "origin.test"}) as response:
        assert await response.json() == {"origin": "origin.test", "room_id": "!a:b"}
    [signed] = served.signatures.requests
    assert (signed.method, signed.uri) == ("GET", path)
    assert signed.authorization == ("origin.test",)


async def test_a_signature_covers_no_content_without_a_body(served: Served) -> None:
    await served.call(
        "GET", "/_matrix/federation/v1/state/!a:b", headers={"Authorization": "origin.test"}
    )
    [signed] = served.signatures.requests
    assert repr(signed.content) == "UNSET"


@pytest.mark.parametrize("path", ["send", "none"])
async def test_a_signature_covers_the_decoded_body_read_or_not(served: Served, path: str) -> None:
    await served.call(
        "PUT",
        f"/_matrix/federation/v1/{path}",
        data=b'{"pdus": [1.5]}',
        headers={"Authorization": "origin.test"},
    )
    [signed] = served.signatures.requests
    assert signed.content == {"pdus": [1.5]}


async def test_a_signed_body_is_given_as_it_was_signed(served: Served) -> None:
    headers = {"Authorization": "origin.test"}
    path = "/_matrix/federation/v1/send"
    answer = await served.call("PUT", path, data=b'{"a": 1}', headers=headers)
    assert answer == (200, {"content": {"a": 1}, "raw": '{"a": 1}'})


async def test_a_signed_body_becomes_the_struct_of_the_endpoint(served: Served) -> None:
    headers = {"Authorization": "origin.test"}
    path = "/_matrix/federation/v1/events"
    assert await served.call("POST", path, data=b'{"limit":3}', headers=headers) == (
        200,
        {"limit": 3},
    )
    assert await served.call("POST", path, headers=headers) == (200, {"limit": 10})
    status, answer = await served.call("POST", path, data=b'{"limit":"x"}', headers=headers)
    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_an_unsigned_request_does_not_reach_a_federation_endpoint(served: Served) -> None:
    status, answer = await served.call("PUT", "/_matrix/federation/v1/send", data=b"{}")
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")


async def test_a_signed_body_that_is_no_json_is_refused_first(served: Served) -> None:
    headers = {"Authorization": "origin.test"}
    status, answer = await served.call(
        "PUT", "/_matrix/federation/v1/send", data=b"{", headers=headers
    )
    assert (status, answer["errcode"]) == (400, "M_NOT_JSON")
    assert served.signatures.requests == []


async def test_servers_are_limited_one_by_one(served: Served) -> None:
    async def calls(server: str) -> list[int]:
        headers = {"Authorization": server}
        path = "/_matrix/federation/v1/events"
        return [(await served.call("POST", path, headers=headers))[0] for _ in range(21)]

    assert await calls("a.test") == [200] * 20 + [429]
    assert await calls("b.test") == [200] * 20 + [429]


async def signed_calls(
    serve: Serve, ip: str, times: int, *, server: str = "", body: bytes = b"{}", served: Any = None
) -> tuple[Served, list[int]]:
    """Send bodies as the proxy of a server at an address."""
    listener = Listener(port=0, trusted_proxies=("127.0.0.1/32",))
    served = served or await serve(FederationRoutes(), listeners=(listener,))
    headers = {"X-Forwarded-For": ip} | ({"Authorization": server} if server else {})
    path = "/_matrix/federation/v1/send"
    calls = [await served.call("PUT", path, data=body, headers=headers) for _ in range(times)]
    return served, [status for status, _ in calls]


@pytest.mark.parametrize(
    ("failing", "same", "other"),
    [
        ("9.9.9.9", "9.9.9.9", "9.9.9.8"),
        ("2620:fe::fe", "2620:fe::1:2:3", "2620:fe:0:1::fe"),
    ],
)
@pytest.mark.parametrize(("server", "body"), [("", b"{}"), ("a.test", b"{")])
async def test_an_address_that_fails_to_sign_is_refused_before_anything_is_read(
    serve: Serve, failing: str, same: str, other: str, server: str, body: bytes
) -> None:
    status = 400 if server else 401
    served, statuses = await signed_calls(serve, failing, 101, server=server, body=body)
    assert statuses == [status] * 100 + [429]
    _, statuses = await signed_calls(serve, same, 1, server="b.test", served=served)
    assert statuses == [429]
    assert served.signatures.requests == []
    _, statuses = await signed_calls(serve, other, 1, server="b.test", served=served)
    assert statuses == [200]
    served.clock.tick(1.0)
    _, statuses = await signed_calls(serve, same, 2, server="b.test", served=served)
    assert statuses == [200, 200]


@pytest.mark.parametrize(
    ("ip", "server", "status"),
    [
        ("9.9.9.9", "a.test", 200),
        # Behind a proxy that is not trusted everybody has its address.
        ("10.0.0.1", "", 401),
        ("127.0.0.1", "", 401),
        ("fd00::1", "", 401),
        ("not an address", "", 401),
        # The server may be who it says.
        ("9.9.9.9", "blocked.test", 403),
    ],
)
async def test_others_are_not_counted_among_those_who_fail(
    serve: Serve, ip: str, server: str, status: int
) -> None:
    _, statuses = await signed_calls(serve, ip, 102, server=server)
    assert statuses == [status] * 102


async def test_an_unsigned_body_is_not_read(serve: Serve) -> None:
    _, statuses = await signed_calls(serve, "9.9.9.9", 1, body=b"{")
    assert statuses == [401]


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_a_body_counts_as_unverified_only_until_its_signature_is_verified(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, is_compressed: bool
) -> None:
    body = b'{"a": "' + b"a" * 50_000 + b'"}'
    sent = zlib.compress(body) if is_compressed else body
    more = {"headers": {"Authorization": "a.test"}, "data": sent}
    if is_compressed:
        more["headers"]["Content-Encoding"] = "deflate"
    served = await serve(FederationRoutes())
    path = "/_matrix/federation/v1/none"
    monkeypatch.setattr(unverified, "MAX_BYTES", len(body))
    assert [(await served.call("PUT", path, **more))[0] for _ in range(3)] == [200] * 3
    monkeypatch.setattr(unverified, "MAX_BYTES", len(body) - 1)
    assert [(await served.call("PUT", path, **more))[0] for _ in range(2)] == [503] * 2
