"""Identifiers inside typed values are held against their grammar."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from homeserver.protocol.identifiers import (
    DeviceID,
    EventID,
    KeyID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
)
from homeserver.web.value_checks import BadValue, identifier_check, nul_check

ALICE = "@alice:example.org"


class Inner(msgspec.Struct, frozen=True, rename="camel"):
    event_ids: list[EventID] = []
    text: str = ""


class Tree(msgspec.Struct, frozen=True):
    user: UserID | None = None
    children: "list[Tree]" = []


class Outer(msgspec.Struct, frozen=True):
    inner: Inner
    alias: RoomAlias | UnsetType = UNSET
    kind: Literal["a", "b"] = "a"


class Plain(msgspec.Struct, frozen=True):
    text: str = ""
    number: int = 0
    content: dict[str, Any] = {}


def fault(annotation: object, value: object) -> str:
    check = identifier_check(annotation)
    assert check is not None
    with pytest.raises(BadValue) as caught:
        check(value)
    return caught.value.path


def accepts(annotation: object, value: object) -> None:
    check = identifier_check(annotation)
    assert check is not None
    check(value)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (UserID, ALICE, "alice"),
        (RoomID, "!room:example.org", "#room:example.org"),
        (EventID, "$event", "event"),
        (RoomAlias, "#alias:example.org", "alias"),
        (ServerName, "example.org:8448", "exa mple"),
        (DeviceID, "ABCDEF", ""),
        (KeyID, "ed25519:1", "ed25519"),
    ],
)
def test_each_kind_of_identifier_is_parsed(annotation: object, good: str, bad: str) -> None:
    accepts(annotation, good)
    assert fault(annotation, bad) == ""


@pytest.mark.parametrize("annotation", [str, int, list[str], dict[str, Any], Plain, Any, None])
def test_values_without_identifiers_need_no_check(annotation: object) -> None:
    assert identifier_check(annotation) is None


@pytest.mark.parametrize(
    "annotation", [UserID | None, UserID | UnsetType, Annotated[UserID, Meta(max_length=99)]]
)
def test_optional_and_annotated_identifiers_are_checked(annotation: object) -> None:
    accepts(annotation, ALICE)
    fault(annotation, "alice")


def test_null_and_absent_pass() -> None:
    accepts(UserID | None, None)
    accepts(UserID | UnsetType, UNSET)


def test_one_of_two_kinds_is_enough() -> None:
    accepts(RoomID | RoomAlias, "!a:b")
    accepts(RoomID | RoomAlias, "#a:b")
    fault(RoomID | RoomAlias, "@a:b")


def test_plain_text_as_an_alternative_accepts_everything() -> None:
    assert identifier_check(UserID | str) is None


def test_the_path_leads_into_lists_and_mappings() -> None:
    assert fault(list[UserID], [ALICE, "bob"]) == "[1]"
    assert fault(dict[UserID, list[EventID]], {ALICE: ["$a", "b"]}) == f".{ALICE}[1]"
    assert fault(dict[UserID, Any], {"bob": 1}) == ".bob"


def test_the_path_names_fields_as_the_client_wrote_them() -> None:
    assert fault(Outer, Outer(Inner([EventID("x")]))) == ".inner.eventIds[0]"
    assert fault(Outer, Outer(Inner(), RoomAlias("x"))) == ".alias"


def test_a_struct_that_contains_itself_is_checked_at_every_depth() -> None:
    good = Tree(UserID(ALICE), [Tree(UserID(ALICE))])
    accepts(Tree, good)
    assert fault(Tree, Tree(None, [Tree(None, [Tree(UserID("x"))])])) == (
        ".children[0].children[0].user"
    )


def test_lists_beside_single_identifiers_are_told_apart() -> None:
    annotation = UserID | list[UserID]
    accepts(annotation, ALICE)
    accepts(annotation, [ALICE])
    assert fault(annotation, ["x"]) == "[0]"


def test_nul_is_refused_in_every_typed_string() -> None:
    check = nul_check(Outer)
    assert check is not None
    check(Outer(Inner([EventID("$a")], "text")))
    with pytest.raises(BadValue) as caught:
        check(Outer(Inner([], "te\0xt")))
    assert caught.value.path == ".inner.text"


def test_nul_is_left_to_free_json() -> None:
    check = nul_check(Plain)
    assert check is not None
    check(Plain(content={"a\0": "b\0"}))
