import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    create_event_id_of,
    has_domain,
    is_compliant_user_id,
    is_new_localpart,
    localpart_of,
    parse_device_id,
    parse_event_id,
    parse_event_id_with_domain,
    parse_key_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    room_id_of_create_event,
    server_name_of,
    split_server_name,
    user_id,
)

HASH = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"
SERVER = ServerName("example.org")
PARSERS_WITH_DOMAIN = [
    (parse_user_id, "@"),
    (parse_room_id, "!"),
    (parse_room_alias, "#"),
    (parse_event_id_with_domain, "$"),
]
ALL_PARSERS = [
    *PARSERS_WITH_DOMAIN,
    (parse_event_id, "$"),
    (parse_key_id, "ed25519:"),
    (parse_device_id, ""),
]


@pytest.mark.parametrize(
    "text",
    [
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        "[::]",
        "[::ffff:1.2.3.4]",
        "[ABCD::]",
        "localhost",
        "a",
        "A-b.C",
        "255.255.255.255:1",
        "0.0.0.0",
        "001.2.3.4",
        "1.2.3",
        "1.2.3.4.5",
        "1st.example",
        "300.example.org",
        "example.org:0",
        "example.org:99999",
        "x" * 255,
    ],
)
def test_server_names_of_the_grammar_are_accepted(text):
    assert parse_server_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":80",
        "example.org:",
        "example.org:123456",
        "example.org:80:80",
        "example.org:8x",
        "example.org:-1",
        "example.org:٨٠",
        "example.org\n",
        " example.org",
        "exämple.org",
        "example_org",
        "example.org/path",
        "user@example.org",
        "[",
        "[]",
        "[1]",
        "[:]",
        "[:::]",
        "[12345::]",
        "[1:2:3:4:5:6:7:8:9]",
        "[::1%eth0]",
        "[::1",
        "::1",
        "[::1]80",
        "[::300.1.1.1]",
        "[example.org]",
        "256.1.1.1",
        "1.2.3.999:8448",
        "example.org\0",
        "\ud800.org",
        "x" * 256,
        pytest.param("x" * 10_000_000, id="long"),
    ],
)
def test_other_server_names_are_refused(text):
    with pytest.raises(InvalidIdentifier):
        parse_server_name(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.org", "example.org", None),
        ("example.org:8448", "example.org", 8448),
        ("1.2.3.4", "1.2.3.4", None),
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("[::1]", "[::1]", None),
        ("[::1]:00443", "[::1]", 443),
    ],
)
def test_a_server_name_splits_into_host_and_port(text, host, port):
    assert split_server_name(parse_server_name(text)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "@alice:example.org",
        "@a-z0-9._=/+:example.org:8448",
        "@bob:[::1]:8448",
        "@UPPER:example.org",
        "@:example.org",
        "@ \t\n\x01:example.org",
        "@jürgen 😀:example.org",
        "@@!$#:example.org",
    ],
)
def test_user_ids_of_the_historical_grammar_are_accepted(text):
    assert parse_user_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@alice",
        "alice:example.org",
        "!alice:example.org",
        "@alice:",
        "@alice:example org",
        "@alice:other:example.org",
        "@alice:example.org\n",
    ],
)
def test_what_has_not_the_form_of_a_user_id_is_refused(text):
    with pytest.raises(InvalidIdentifier):
        parse_user_id(text)


@pytest.mark.parametrize(("parse", "sigil"), PARSERS_WITH_DOMAIN)
def test_every_identifier_with_a_domain_needs_its_own_sigil(parse, sigil):
    assert parse(f"{sigil}x:example.org")
    for other in {"@", "!", "#", "$", "", "x"} - {sigil}:
        with pytest.raises(InvalidIdentifier):
            parse(f"{other}x:example.org")


@pytest.mark.parametrize(("parse", "sigil"), PARSERS_WITH_DOMAIN)
@pytest.mark.parametrize("character", ["x", "ä", "日", "😀"])
def test_identifiers_are_limited_to_255_bytes_not_characters(parse, sigil, character):
    size = len(character.encode())
    room = 255 - len(sigil) - len(":example.org")
    longest = f"{sigil}{character * (room // size)}{'x' * (room % size)}:example.org"

    assert len(longest.encode()) == 255
    assert parse(longest) == longest
    with pytest.raises(InvalidIdentifier):
        parse(longest.replace(":", "x:", 1))


@pytest.mark.parametrize(
    ("parse", "sigil"), [(parse_event_id, "$"), (parse_key_id, "a:"), (parse_device_id, "")]
)
def test_opaque_identifiers_are_limited_to_255_bytes_too(parse, sigil):
    longest = sigil + "x" * (255 - len(sigil))

    assert parse(longest) == longest
    with pytest.raises(InvalidIdentifier):
        parse(longest + "x")


@pytest.mark.parametrize(("parse", "sigil"), ALL_PARSERS)
@pytest.mark.parametrize(
    "bad", ["\0", chr(0xD800), chr(0xDFFF), pytest.param("x" * 10_000_000, id="long")]
)
def test_nul_lone_surrogates_and_endless_texts_are_refused_everywhere(parse, sigil, bad):
    assert parse(f"{sigil}xy:example.org")
    with pytest.raises(InvalidIdentifier):
        parse(f"{sigil}x{bad}y:example.org")


@pytest.mark.parametrize(
    "text", [f"!{HASH}", "!opaque:example.org", "!:example.org", "!ö\n:example.org"]
)
def test_room_ids_have_a_domain_or_are_a_hash(text):
    assert parse_room_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "!x",
        f"!{HASH}x",
        f"!{HASH[:-1]}",
        f"!{HASH[:-1]}+",
        f"!{HASH}\n",
        f"${HASH}",
        f"!{HASH}:",
    ],
)
def test_other_room_ids_are_refused(text):
    with pytest.raises(InvalidIdentifier):
        parse_room_id(text)


def test_a_room_id_without_a_domain_is_the_event_id_of_its_create_event():
    room_id, event_id = parse_room_id(f"!{HASH}"), parse_event_id(f"${HASH}")

    assert room_id_of_create_event(event_id) == room_id
    assert create_event_id_of(room_id) == event_id
    assert not has_domain(room_id)
    assert has_domain(parse_room_id("!x:example.org"))


@pytest.mark.parametrize(
    "text", ["$x:example.org", f"${HASH}", "$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", "$?"]
)
def test_event_ids_of_all_room_versions_are_accepted(text):
    assert parse_event_id(text) == text


@pytest.mark.parametrize("text", ["", "$", "x", f"!{HASH}", HASH])
def test_other_event_ids_are_refused(text):
    with pytest.raises(InvalidIdentifier):
        parse_event_id(text)


@pytest.mark.parametrize("text", [f"${HASH}", "$x:", "$x:not a server"])
def test_event_ids_of_the_first_room_versions_need_a_domain(text):
    with pytest.raises(InvalidIdentifier):
        parse_event_id_with_domain(text)


@pytest.mark.parametrize("text", ["", "ed25519", "ed25519:", ":a"])
def test_a_key_id_needs_an_algorithm_and_a_name(text):
    with pytest.raises(InvalidIdentifier):
        parse_key_id(text)


def test_a_device_id_is_not_empty():
    with pytest.raises(InvalidIdentifier):
        parse_device_id("")


@pytest.mark.parametrize(
    ("localpart", "allowed"),
    [
        ("alice", True),
        ("a.b_c=d-e/f+9", True),
        ("", False),
        ("Alice", False),
        ("alice\n", False),
        ("a lice", False),
        ("älice", False),
        ("a:b", False),
        ("a@b", False),
        ("٣", False),
    ],
)
def test_new_users_keep_to_the_strict_grammar(localpart, allowed):
    assert is_new_localpart(localpart) is allowed


@pytest.mark.parametrize(
    ("text", "compliant"),
    [
        ("@alice:example.org", True),
        ("@ALICE!~:example.org", True),
        ("@:example.org", False),
        ("@a b:example.org", False),
        ("@\x7f:example.org", False),
        ("@ä:example.org", False),
    ],
)
def test_clients_are_not_shown_empty_or_unprintable_users(text, compliant):
    assert is_compliant_user_id(parse_user_id(text)) is compliant


@pytest.mark.parametrize("localpart", ["a:b", "a\0", "x" * 255, "\udc00"])
def test_a_user_id_cannot_be_put_together_from_anything(localpart):
    with pytest.raises(InvalidIdentifier):
        user_id(localpart, SERVER)


def test_a_localpart_cannot_bring_its_own_domain():
    with pytest.raises(InvalidIdentifier):
        user_id("mallory:evil.example", ServerName("80"))


@pytest.mark.parametrize(
    "identifier",
    [
        UserID("@x:example.org:1"),
        RoomAlias("#x:example.org:1"),
        RoomID("!x:example.org:1"),
        EventID("$x:example.org:1"),
    ],
)
def test_the_domain_begins_after_the_first_colon(identifier):
    assert server_name_of(identifier) == "example.org:1"


@pytest.mark.parametrize("identifier", [EventID(f"${HASH}"), RoomID(f"!{HASH}")])
def test_identifiers_that_are_hashes_have_no_domain(identifier):
    with pytest.raises(InvalidIdentifier):
        server_name_of(identifier)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(["example.org", "[::1]:8448", "1.2.3.4:1"]),
)
def test_parts_of_a_user_id_come_back_as_they_went_in(localpart, domain):
    whole = user_id(localpart, ServerName(domain))

    assert localpart_of(whole) == localpart
    assert server_name_of(whole) == domain


@settings(deadline=None)
@given(st.text(), st.sampled_from([parse for parse, _ in ALL_PARSERS]))
def test_parsers_return_the_text_itself_or_refuse_it(text, parse):
    with contextlib.suppress(InvalidIdentifier):
        assert parse(text) == text
