"""The log lines that tell operators of the sidecar itself: that it began and ended, its flags, who can be reached."""

from collections.abc import Mapping
from typing import Final

from proxy import __version__
from proxy.config.render import to_plain
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.core.contact import Contact
from proxy.core.flags import FlagChange
from proxy.observe.logs import logger

_LOG: Final = logger("proxy.wiring.announce")


def say_started(config: Config, bound: Mapping[str, Address | None], *, flags_version: int) -> None:
    """All that was asked for is `bound`, name to address: calls are served from now on."""
    plain = to_plain(config)
    where = {name: str(address) for name, address in bound.items() if address is not None}
    _LOG.info(
        "started",
        version=__version__,
        **where,
        bridge=plain["bridge"]["url"],
        state=plain["state"]["url"],
        flags_version=flags_version,
    )


def say_stopped() -> None:
    """Everything was taken down in order."""
    _LOG.info("stopped", version=__version__)


def say_flags_changed(change: FlagChange) -> None:
    """A change of the flags took effect here; the names of the flags, as a list in one may be long."""
    _LOG.info(
        "flags changed",
        before=change.version - 1,
        now=change.version,
        flags=list(change.changes),
        author=change.author,
        reason=change.reason,
    )


def announce(contact: Contact) -> Contact:
    """The same, with operators told once when it is lost, and once when it is back."""
    peer = contact.name.removeprefix("the ")
    lost, back = f"{peer} lost", f"{peer} back"
    contact.lost = lambda why: _LOG.warning(lost, problem=why)
    contact.back = lambda away_s: _LOG.info(back, away_seconds=round(away_s, 3))
    return contact
