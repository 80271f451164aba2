"""An admin port that others can reach has tokens, or nothing starts."""

import pytest

from proxy.config.exposure import check_exposure
from proxy.config.load import load_config
from proxy.config.problems import ConfigError

pytestmark = pytest.mark.requirement("admin.exposed_with_tokens")


@pytest.mark.parametrize("admin", ["0.0.0.0:8767", "[::]:8767", "10.0.0.1:0", "sidecar.example:8767"])
def test_an_admin_port_beyond_loopback_without_tokens_is_refused_with_the_remedy(admin: str) -> None:
    config = load_config(None, env={}, overrides={"listen.admin": admin}).config
    with pytest.raises(ConfigError, match=r"admin\.token_file: expected a file of tokens.*or listen on 127\.0\.0\.1"):
        check_exposure(config)


@pytest.mark.parametrize("admin", ["127.0.0.1:8767", "127.9.9.9:1", "[::1]:8767", "localhost:8767"])
def test_on_loopback_no_tokens_are_needed(admin: str) -> None:
    check_exposure(load_config(None, env={}, overrides={"listen.admin": admin}).config)


def test_with_a_token_file_every_address_is_taken() -> None:
    overrides = {"listen.admin": "0.0.0.0:8767", "admin.token_file": "/etc/tokens"}
    check_exposure(load_config(None, env={}, overrides=overrides).config)
