import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import shapes
from proxy.config.problems import Unfit
from proxy.config.shapes import Address

Parser = Callable[[str], object]
PARSERS: tuple[Parser, ...] = (
    shapes.parse_host,
    shapes.parse_address,
    shapes.parse_host_name,
    shapes.parse_origin,
    shapes.parse_http_url,
    shapes.parse_path,
    shapes.parse_tool_name,
    shapes.parse_agent_name,
    shapes.parse_optional_agent_name,
    shapes.parse_salt,
    shapes.parse_file_path,
    shapes.parse_state_url,
)


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        (shapes.parse_address, "127.0.0.1:8766", Address("127.0.0.1", 8766)),
        (shapes.parse_address, "LocalHost:0", Address("localhost", 0)),
        (shapes.parse_address, "[::1]:65535", Address("::1", 65535)),
        (shapes.parse_host_name, "My-Host.example", "my-host.example"),
        (shapes.parse_host_name, "::1", "::1"),
        (shapes.parse_host_name, "My-Host.example:80", "my-host.example:80"),
        (shapes.parse_host_name, "[::1]:80", "[::1]:80"),
        (shapes.parse_host_name, "[2001:DB8::1]", "2001:db8::1"),
        (shapes.parse_origin, "http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        (shapes.parse_origin, "HTTPS://bridge.example/", "https://bridge.example"),
        (shapes.parse_origin, "http://[::1]:1", "http://[::1]:1"),
        (shapes.parse_http_url, "https://x.example/a?b#c", "https://x.example/a?b#c"),
        (shapes.parse_path, "/event/wait", "/event/wait"),
        (shapes.parse_tool_name, "wait_for_messages", "wait_for_messages"),
        (shapes.parse_agent_name, "alice", "alice"),
        (shapes.parse_optional_agent_name, "", ""),
        (shapes.parse_optional_agent_name, "alice", "alice"),
        (shapes.parse_salt, "winter 2026 ä", "winter 2026 ä"),
        (shapes.parse_file_path, "/etc/tokens", "/etc/tokens"),
        (shapes.parse_state_url, "memory:", "memory:"),
        (shapes.parse_state_url, "sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
    ],
)
def test_a_well_formed_text_is_read(parser: Parser, text: str, value: object) -> None:
    assert parser(text) == value


@pytest.mark.parametrize(
    ("parser", "text", "hint"),
    [
        (shapes.parse_address, "127.0.0.1", "port from 0 to 65535"),
        (shapes.parse_address, "127.0.0.1:65536", "port from 0 to 65535"),
        (shapes.parse_address, "127.0.0.1:-1", "port from 0 to 65535"),
        (shapes.parse_address, ":8766", "name a host"),
        (shapes.parse_address, "::1:8766", "brackets"),
        (shapes.parse_address, "[::x]:8766", "brackets"),
        (shapes.parse_address, "256.0.0.1:1", "four numbers"),
        (shapes.parse_address, "a b:1", "name a host"),
        (shapes.parse_host_name, "http://x", "without scheme"),
        (shapes.parse_host_name, "x:http", "port from 0 to 65535"),
        (shapes.parse_host_name, "x:", "port from 0 to 65535"),
        (shapes.parse_host_name, ":80", "name a host"),
        (shapes.parse_host_name, "a:b:c", "brackets"),
        (shapes.parse_host_name, "*", "name a host"),
        (shapes.parse_origin, "127.0.0.1:8765", "begin with http"),
        (shapes.parse_origin, "http://", "begin with http"),
        (shapes.parse_origin, "ftp://x", "begin with http"),
        (shapes.parse_origin, "http://x/mcp", "leave out path"),
        (shapes.parse_origin, "http://x?", "leave out path"),
        (shapes.parse_origin, "http://x#", "leave out path"),
        (shapes.parse_origin, "http://u:p@x", "user name"),
        (shapes.parse_origin, "http://x:0", "port from 1"),
        (shapes.parse_origin, "http://x:", "port from 1"),
        (shapes.parse_origin, "http://x:99999", "cannot be read"),
        (shapes.parse_origin, "http://[::1", "cannot be read"),
        (shapes.parse_origin, "http://x\ty", "visible ASCII"),
        (shapes.parse_origin, "http://a,b", "name a host"),
        (shapes.parse_http_url, "https://x/" + "y" * 500, "at most 500"),
        (shapes.parse_path, "event/wait", "one slash"),
        (shapes.parse_path, "//event", "one slash"),
        (shapes.parse_path, "/a?b", "query"),
        (shapes.parse_path, "/a b", "spaces"),
        (shapes.parse_path, "/" + "x" * 500, "at most 500"),
        (shapes.parse_tool_name, "", "1 to 128"),
        (shapes.parse_tool_name, "a b", "1 to 128"),
        (shapes.parse_tool_name, "a\x00", "1 to 128"),
        (shapes.parse_salt, "x" * 201, ""),
        (shapes.parse_salt, "a\n", ""),
        (shapes.parse_file_path, "a\x00b", "printable"),
        (shapes.parse_state_url, "sqlite://var/lib/x.db", "three slashes"),
        (shapes.parse_state_url, "sqlite:////var/lib/x.db", "three slashes"),
        (shapes.parse_state_url, "sqlite:///", "name a file"),
        (shapes.parse_state_url, "sqlite:///x.db?mode=ro", "name a file"),
        (shapes.parse_state_url, "/var/lib/x.db", "begin with sqlite:///"),
        (shapes.parse_state_url, "redis://h", "not available in this release"),
        (shapes.parse_state_url, "rediss://h", "not available in this release"),
        (shapes.parse_state_url, "redis+unix:///s", "not available in this release"),
    ],
)
def test_a_malformed_text_is_refused_with_what_to_do(parser: Parser, text: str, hint: str) -> None:
    with pytest.raises(Unfit) as caught:
        parser(text)
    assert hint in caught.value.hint


def test_an_address_shows_itself_as_it_is_written() -> None:
    assert str(Address("127.0.0.1", 1)) == "127.0.0.1:1"
    assert str(Address("::1", 1)) == "[::1]:1"


@pytest.mark.parametrize(("host", "is_wildcard"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False)])  # noqa: S104 - read, not bound to
def test_an_address_knows_whether_it_means_every_interface(host: str, *, is_wildcard: bool) -> None:
    assert Address(host, 1).is_wildcard is is_wildcard


URLISH = st.text("ahttps:/[]@.?#%0123456789 \t\u0661é", max_size=30)


@given(st.sampled_from(PARSERS), st.one_of(st.text(max_size=40), URLISH))
def test_any_text_is_read_or_refused(parser: Parser, text: str) -> None:
    with contextlib.suppress(Unfit):
        parser(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_comes_back_as_it_was_shown(ip: object, port: int) -> None:
    address = Address(str(ip), port)
    assert shapes.parse_address(str(address)) == address
