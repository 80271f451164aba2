import pytest

from proxy.config.cross import find_clashes
from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.config.schema import Config


def test_the_defaults_go_together() -> None:
    assert list(find_clashes(Config())) == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"listen.data": "[::]:8767"}, "listen.data"),
        ({"listen.data": "10.0.0.1:99", "listen.admin": "0.0.0.0:99"}, "listen.admin"),
        ({"listen.data": "localhost:8767"}, "listen.data"),
        ({"listen.data": "[::1]:99", "listen.admin": "localhost:99"}, "listen.admin"),
        ({"bridge.url": "http://127.0.0.1:8766"}, "bridge.url"),
        ({"bridge.url": "http://LOCALHOST:8767"}, "bridge.url"),
        ({"listen.data": "127.0.0.1:80", "bridge.url": "http://127.0.0.1"}, "bridge.url"),
        ({"listen.data": "127.0.0.1:443", "bridge.url": "https://127.0.0.1"}, "bridge.url"),
        ({"listen.data": "0.0.0.0:5", "bridge.url": "http://[::1]:5"}, "bridge.url"),
        ({"listen.data": "sidecar.example:5", "bridge.url": "http://sidecar.example:5"}, "bridge.url"),
        ({"flags.elicitation_whitelist": "a,b", "flags.elicitation_denylist": "b"}, "flags.elicitation_whitelist"),
        ({"bridge.poll_idle_ms": "99"}, "bridge.poll_idle_ms"),
        ({"bridge.poll_fast_ms": "2001"}, "bridge.poll_fast_ms"),
        ({"listen.tls_key_file": "/k"}, "listen.tls_key_file"),
        ({"bridge.url": "https://x", "bridge.client_key_file": "/k"}, "bridge.client_key_file"),
        ({"bridge.ca_file": "/c"}, "bridge.ca_file"),
    ],
)
def test_keys_that_contradict_each_other_are_one_problem(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, env={}, overrides=settings)
    assert [problem.key for problem in caught.value.problems] == [key]


@pytest.mark.parametrize(
    "settings",
    [
        {"listen.data": "10.0.0.1:99", "listen.admin": "10.0.0.2:99"},
        {"listen.data": "127.0.0.1:99", "listen.admin": "[::1]:99"},
        {"listen.data": "127.0.0.1:0", "listen.admin": "127.0.0.1:0"},
        {"bridge.url": "http://127.0.0.2:8766"},
        {"listen.data": "0.0.0.0:5", "bridge.url": "http://bridge.example:5"},
        {"listen.data": "10.0.0.1:5", "bridge.url": "http://localhost:5"},
        {"flags.elicitation_whitelist": "canary", "flags.elicitation_denylist": "alice", "groups.canary": "alice"},
        {"flags.elicitation_whitelist": "alice,alice"},
        {"bridge.poll_fast_ms": "500", "bridge.poll_idle_ms": "500"},
        {"listen.tls_cert_file": "/c", "listen.tls_key_file": "/k"},
        {"bridge.mcp_url": "https://x", "bridge.ca_file": "/c"},
    ],
)
def test_keys_that_go_together_are_taken(settings: dict[str, str]) -> None:
    load_config(None, env={}, overrides=settings)


def test_each_name_in_both_lists_is_reported_once() -> None:
    settings = {"flags.elicitation_whitelist": "a,b,a", "flags.elicitation_denylist": "b,a"}
    with pytest.raises(ConfigError) as caught:
        load_config(None, env={}, overrides=settings)
    assert [problem.got for problem in caught.value.problems] == ["'a'", "'b'"]
