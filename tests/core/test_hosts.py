"""Host and Origin: only names of the loopback interface and configured names are ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hosts import is_allowed_host, is_allowed_origin

NONE: frozenset[str] = frozenset()
NAMES = frozenset({"sidecar.internal", "bridge:8765", "fd00::1", "[fd00::2]:8767"})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost:8767",
        "127.0.0.1",
        "127.0.0.1:8767",
        "127.8.9.10:1",
        "[::1]",
        "[::1]:8767",
        "[0:0:0:0:0:0:0:1]",
        "localhost:0",
        "localhost:65535",
    ],
)
def test_loopback_names_are_allowed_with_any_port(host: str) -> None:
    assert is_allowed_host(host, NONE)


@pytest.mark.parametrize(
    "host",
    [
        "sidecar.internal",
        "SIDECAR.internal:1",
        "sidecar.internal:8767",
        "bridge:8765",
        "bridge:08765",
        "[fd00::1]",
        "[FD00:0::1]:99",
        "[fd00::2]:8767",
    ],
)
def test_configured_names_are_allowed(host: str) -> None:
    assert is_allowed_host(host, NAMES)


@pytest.mark.parametrize("host", ["bridge", "bridge:8766", "[fd00::2]", "[fd00::2]:8766", "fd00::1"])
def test_a_name_configured_with_a_port_matches_that_port_only(host: str) -> None:
    assert not is_allowed_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8767",
        "128.0.0.1",
        "10.0.0.1",
        "[::2]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "127.0.0.01",
        "localhost.",
    ],
)
def test_foreign_names_and_addresses_are_refused(host: str) -> None:
    assert not is_allowed_host(host, NONE)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        ":80",
        "localhost:",
        "localhost:x",
        "localhost:65536",
        "localhost:999999",
        "localhost:-1",
        "localhost:٣",
        "a b",
        " localhost",
        "localhost ",
        "localhost\n",
        "user@localhost",
        "localhost/x",
        "localhost,evil",
        "[::1",
        "::1",
        "[]",
        "[:::1]",
        "[::1%lo]",
        "[::1]x",
        "[1.2.3.4]",
        "l\u043ecalhost",
        "\udc80",
        "a" * 254,
    ],
)
def test_what_cannot_be_read_is_refused(host: str) -> None:
    assert not is_allowed_host(host, NONE)
    assert not is_allowed_host(host, NAMES)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:3000",
        "HTTP://127.0.0.1:8767",
        "http://[::1]:8767",
        "https://sidecar.internal",
        "http://bridge:8765",
    ],
)
def test_an_origin_of_an_allowed_host_is_allowed(origin: str) -> None:
    assert is_allowed_origin(origin, NAMES)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "localhost",
        "file://localhost",
        "http://evil.example",
        "http://localhost/",
        "http://localhost@evil",
        "http://localhost, http://evil.example",
        "https:localhost",
        "http://",
        "httpss://localhost",
    ],
)
def test_any_other_origin_is_refused(origin: str) -> None:
    assert not is_allowed_origin(origin, NAMES)


@given(st.text(alphabet="localhst127.0:[]@/évi\x00 -", max_size=40))
def test_reading_never_fails_and_a_foreign_suffix_never_helps(text: str) -> None:
    is_allowed_host(text, NAMES)
    is_allowed_origin(text, NAMES)
    assert not is_allowed_host(text + ".example", NONE)
    assert not is_allowed_origin("http://" + text + "@evil.example", NAMES)
