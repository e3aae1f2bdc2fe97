import pytest

from homeserver.errors import Exclusive, InvalidUsername
from homeserver.protocol.identifiers import ServerName, UserID, is_new_localpart, localpart_of
from homeserver.services.user_names import NothingReserved, UserNames, meant_user_ids
from homeserver.storage.database import Database
from homeserver.telemetry.clock import SystemClock

SERVER = ServerName("example.org:8448")


class IrcReserved:
    def check(self, user_id: UserID, *, appservice_id: str | None) -> None:
        if user_id.startswith("@_irc_") and appservice_id != "irc":
            raise Exclusive


@pytest.fixture
def names() -> UserNames:
    return UserNames(SERVER, Database("postgresql:///unused", clock=SystemClock()), IrcReserved())


@pytest.mark.parametrize(
    ("username", "user_id"),
    [
        ("alice", "@alice:example.org:8448"),
        ("Alice", "@alice:example.org:8448"),
        ("a.b_c=d-e/f+9", "@a.b_c=d-e/f+9:example.org:8448"),
        ("12345", "@12345:example.org:8448"),
        ("_under", "@_under:example.org:8448"),
    ],
)
def test_a_wanted_name_becomes_a_user_id_in_lower_case(
    names: UserNames, username: str, user_id: str
) -> None:
    assert names.parse(username) == user_id


@pytest.mark.parametrize(
    "username",
    ["", " ", "a b", "a:b", "@alice", "é", "\n", "a#b", "a!b", "a?b", "İ", "\u212a", "x" * 239],
)
def test_a_name_outside_of_the_grammar_is_refused(names: UserNames, username: str) -> None:
    with pytest.raises(InvalidUsername):
        names.parse(username)


def test_a_user_id_may_have_255_bytes(names: UserNames) -> None:
    longest = "x" * (255 - len("@:" + SERVER))
    assert len(names.parse(longest)) == 255
    with pytest.raises(InvalidUsername):
        names.parse(longest + "x")


def test_a_reserved_name_is_for_its_application_service(names: UserNames) -> None:
    with pytest.raises(Exclusive):
        names.parse("_IRC_bob")
    assert names.parse("_irc_bob", appservice_id="irc") == "@_irc_bob:example.org:8448"


def test_without_application_services_nothing_is_reserved() -> None:
    NothingReserved().check(UserID("@_irc_bob:x"), appservice_id=None)


def test_generated_names_differ_and_fit_the_grammar(names: UserNames) -> None:
    made = {names.generated("guest-") for _ in range(50)}
    assert len(made) == 50
    for user_id in made:
        assert user_id.startswith("@guest-")
        assert is_new_localpart(localpart_of(user_id))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("alice", ["@alice:example.org:8448"]),
        ("Alice", ["@Alice:example.org:8448", "@alice:example.org:8448"]),
        ("@Alice:example.org:8448", ["@Alice:example.org:8448", "@alice:example.org:8448"]),
        (
            "@alice:EXAMPLE.org:8448",
            ["@alice:EXAMPLE.org:8448", "@alice:example.org:8448"],
        ),
        ("@alice:elsewhere.org", []),
        ("@alice:example.org", []),
        ("@alice", []),
        ("alice:example.org:8448", []),
        ("a\0b", []),
        ("x" * 300, []),
    ],
)
def test_a_login_may_mean_the_exact_name_or_the_one_in_lower_case(
    text: str, meant: list[str]
) -> None:
    assert list(meant_user_ids(text, SERVER)) == meant
