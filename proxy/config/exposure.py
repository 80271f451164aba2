"""Whether a port that others can reach has the guard that it needs there.

The admin port on an address beyond loopback needs a token file. Without one nobody from elsewhere could use it, not
even for a look (ARCHITECTURE.md 3.2), so such a configuration serves nobody; and behind a forwarder of the same machine
(a reverse proxy, a published port of a container) all the world would look like loopback, and could look. So it is
refused at the start and not warned of: a warning is read after the harm. The command line's own client is not
concerned: there `listen.admin` is an address to call.
"""

from ipaddress import ip_address

from proxy.config.problems import ConfigError, Problem
from proxy.config.schema import Config


def check_exposure(config: Config) -> None:
    """Refuse an admin port beyond loopback without tokens.

    Raises:
        ConfigError: `admin.token_file` is missing.
    """
    admin = config.listen.admin
    if config.admin.token_file or _is_loopback(admin.host):
        return
    problem = Problem(
        key="admin.token_file",
        source="configuration",
        expected=f"a file of tokens, as listen.admin {admin} can be reached from elsewhere",
        got="none",
        hint='write a line "operator TOKEN" into a file of mode 0600 and name it there, or listen on 127.0.0.1',
    )
    raise ConfigError([problem])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, which may mean any address
        return False
