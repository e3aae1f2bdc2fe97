"""Third-party lookups. Spec: client-server-api/#third-party-lookups"""

import pytest

from homeserver.services.third_party_networks import NoThirdPartyNetworks, ThirdPartyLookups
from tests.support.client import answer_of

NOT_FOUND = (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("protocol/irc", NOT_FOUND),
        ("location/irc?channel=%23matrix", NOT_FOUND),
        ("user/irc?nick=alice&nick=bob", NOT_FOUND),
        ("location?alias=%23a:b.example", NOT_FOUND),
        ("location", (400, "M_MISSING_PARAM")),
        ("location?alias=a", (400, "M_INVALID_PARAM")),
        ("user?userid=@a:b.example", NOT_FOUND),
        ("user", (400, "M_MISSING_PARAM")),
        ("user?userid=a", (400, "M_INVALID_PARAM")),
        ("location/irc?channel=%00", (400, "M_INVALID_PARAM")),
        ("location/irc?channel=%ff", (400, "M_INVALID_PARAM")),
    ],
)
async def test_without_application_services_nothing_is_found(alice, path, expected):
    path, _, query = path.partition("?")
    for root in ("/_matrix/client/v3", "/_matrix/client/r0"):
        url = f"{root}/thirdparty/{path}"
        assert await answer_of(_get(alice, url, query)) == expected


async def test_without_application_services_there_are_no_protocols(alice, clients):
    assert await alice.get("thirdparty/protocols") == {}
    for path in ("protocols", "protocol/irc", "location/irc", "user/irc"):
        asked = clients.nobody().get(f"thirdparty/{path}")
        assert await answer_of(asked) == (401, "M_MISSING_TOKEN")


class Irc(NoThirdPartyNetworks):
    """One network; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    async def protocols(self):
        return {"irc": {"user_fields": ["nick"]}}

    async def locations(self, protocol, fields):
        self.asked.append((protocol, dict(fields)))
        return [{"alias": "#irc:hs.example", "protocol": protocol, "fields": dict(fields)}]


async def test_a_network_is_asked_with_the_fields_of_the_query():
    irc = Irc()
    lookups = ThirdPartyLookups(irc)
    assert await lookups.protocol("irc") == {"user_fields": ["nick"]}
    found = await lookups.locations("irc", {"channel": "#matrix"})
    assert found[0]["fields"] == {"channel": "#matrix"}
    assert irc.asked == [("irc", {"channel": "#matrix"})]


def _get(client, url, query):
    return client.request("GET", f"{url}?{query}&" if query else url)
