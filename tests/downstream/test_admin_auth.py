"""Who may use which door of the admin port."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.config.tokens import Role, Token
from proxy.core.errors import Forbidden, HostRefused, InvalidInput, Unauthenticated
from proxy.core.secret import Secret
from proxy.downstream.admin_auth import Caller, Gate, Need, is_loopback

VIEW, OPERATE = "viewer-token-0123456", "operator-token-01234"
TOKENS = (Token(Role.VIEWER, Secret(VIEW)), Token(Role.OPERATOR, Secret(OPERATE)))
OPEN = Gate(tokens=(), allowed_hosts=frozenset())
LOCKED = Gate(tokens=TOKENS, allowed_hosts=frozenset({"sidecar.internal"}))
HERE, AWAY = "127.0.0.1", "192.0.2.7"


def _call(remote: str | None, *headers: tuple[str, str]) -> web.Request:
    request = make_mocked_request("GET", "/", headers=CIMultiDict(headers))
    return request.clone(remote=remote) if remote is not None else request


def _with(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


@pytest.mark.parametrize("need", [Need.PROBE, Need.LOOK])
def test_without_configured_tokens_loopback_may_look(need: Need) -> None:
    assert OPEN.admit(_call(HERE), need) == Caller(Role.VIEWER, HERE)


@pytest.mark.parametrize("need", [Need.CHANGE, Need.CHANGE_HERE])
@pytest.mark.parametrize("headers", [(), (_with(OPERATE),)])
def test_without_configured_tokens_nobody_may_change_and_is_told_how_to(
    need: Need, headers: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(Unauthenticated, match=r"admin\.token_file"):
        OPEN.admit(_call(HERE, *headers), need)


@pytest.mark.parametrize("gate", [OPEN, LOCKED])
@pytest.mark.parametrize("need", list(Need))
def test_from_elsewhere_nothing_is_open_without_a_token(gate: Gate, need: Need) -> None:
    with pytest.raises(Unauthenticated):
        gate.admit(_call(AWAY), need)


def test_with_tokens_only_probes_stay_open_to_loopback() -> None:
    assert LOCKED.admit(_call(HERE), Need.PROBE).role is Role.VIEWER
    assert LOCKED.admit(_call(HERE, _with("stale-token-01234567")), Need.PROBE).role is Role.VIEWER
    with pytest.raises(Unauthenticated, match="Bearer TOKEN"):
        LOCKED.admit(_call(HERE), Need.LOOK)


@pytest.mark.parametrize("remote", [HERE, AWAY])
def test_a_viewer_may_look_and_not_change(remote: str) -> None:
    assert LOCKED.admit(_call(remote, _with(VIEW)), Need.LOOK).role is Role.VIEWER
    with pytest.raises(Forbidden, match="operator"):
        LOCKED.admit(_call(remote, _with(VIEW)), Need.CHANGE)


@pytest.mark.parametrize("need", list(Need))
def test_an_operator_on_loopback_may_do_everything(need: Need) -> None:
    assert LOCKED.admit(_call(HERE, _with(OPERATE)), need) == Caller(Role.OPERATOR, HERE)


def test_an_operator_elsewhere_may_change_but_not_what_is_for_loopback_only() -> None:
    assert LOCKED.admit(_call(AWAY, _with(OPERATE)), Need.CHANGE).role is Role.OPERATOR
    with pytest.raises(Forbidden, match="loopback"):
        LOCKED.admit(_call(AWAY, _with(OPERATE)), Need.CHANGE_HERE)


def test_a_token_listed_under_both_roles_has_the_higher_one() -> None:
    gate = Gate(tokens=(TOKENS[0], Token(Role.OPERATOR, Secret(VIEW))), allowed_hosts=frozenset())
    assert gate.admit(_call(AWAY, _with(VIEW)), Need.CHANGE).role is Role.OPERATOR


@pytest.mark.parametrize(
    "headers",
    [
        (_with("another-token-012345"),),
        (_with(""),),
        (_with(OPERATE[:-1]),),
        (("Authorization", f"Basic {OPERATE}"),),
        (("Authorization", OPERATE),),
        (("Authorization", "Bearer é"),),
        (_with(OPERATE), _with(OPERATE)),
    ],
)
def test_what_is_not_exactly_one_known_bearer_token_is_refused(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        LOCKED.admit(_call(HERE, *headers), Need.LOOK)
    assert OPERATE[:-1] not in refused.value.detail


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert LOCKED.admit(_call(HERE, ("Authorization", f"{scheme} {VIEW}")), Need.LOOK).role is Role.VIEWER


def test_forwarding_headers_make_nobody_local() -> None:
    headers = (("X-Forwarded-For", HERE), ("Forwarded", f"for={HERE}"), ("X-Real-IP", HERE))
    with pytest.raises(Unauthenticated):
        OPEN.admit(_call(AWAY, *headers), Need.LOOK)


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_recognised(remote: str) -> None:
    assert is_loopback(remote)


@pytest.mark.parametrize("remote", [None, "", "localhost", "10.0.0.1", "::ffff:10.0.0.1", "::2", "fe80::1%eth0"])
def test_other_addresses_are_not_loopback(remote: str | None) -> None:
    assert not is_loopback(remote)


def test_a_peer_without_an_address_is_unknown_and_not_local() -> None:
    with pytest.raises(Unauthenticated):
        OPEN.admit(_call(None), Need.LOOK)
    assert LOCKED.admit(_call(None, _with(VIEW)), Need.LOOK).author(None) == "viewer@unknown"


@pytest.mark.parametrize(
    "headers",
    [
        (("Host", "localhost:8767"),),
        (("Host", "sidecar.internal:8767"), ("Origin", "http://sidecar.internal:8767")),
        (("Host", "127.0.0.1"), ("Origin", "http://localhost:3000")),
    ],
)
def test_our_names_are_let_in(headers: tuple[tuple[str, str], ...]) -> None:
    LOCKED.check_names(_call(HERE, *headers))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Host", "evil.example"),),
        (("Host", "localhost"), ("Host", "localhost")),
        (("Host", "localhost"), ("Origin", "http://evil.example")),
        (("Host", "localhost"), ("Origin", "null")),
        (("Host", "localhost"), ("Origin", "http://localhost"), ("Origin", "http://evil.example")),
    ],
)
def test_foreign_names_are_refused_and_the_remedy_is_told(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(HostRefused, match=r"listen\.allowed_hosts"):
        LOCKED.check_names(_call(HERE, *headers))


def test_the_author_of_a_change_is_role_and_peer_after_the_name_it_gives() -> None:
    caller = Caller(Role.OPERATOR, HERE)
    assert caller.author(None) == "operator@127.0.0.1"
    assert caller.author("Ann") == "Ann (operator@127.0.0.1)"


@pytest.mark.parametrize("claimed", ["", "x" * 101, "a\nb", "\x1b[2J"])
def test_an_author_who_cannot_be_shown_is_refused(claimed: str) -> None:
    with pytest.raises(InvalidInput, match="X-Author"):
        Caller(Role.OPERATOR, HERE).author(claimed)
