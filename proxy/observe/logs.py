"""Set up logging: structured lines on one stream, as JSON or for a human's eyes.

Our own loggers (below `proxy`) write at the chosen level; libraries from warning on, as their debug lines may show
headers. Tracebacks never show local variables, and fields that are named like credentials are blotted out, in case
one slips in.
"""

import logging
from io import StringIO
from textwrap import indent
from typing import Final, Literal, TextIO

import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from proxy.core.printable import printable, printable_json, printable_lines

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

OUR_LOGGER: Final = "proxy"

BLOTTED: Final = "[redacted]"

SECRET_FIELDS: Final = frozenset(
    {"authorization", "cookie", "credential", "credentials", "password", "secret", "set-cookie", "token", "x-api-key"}
)
"""Field names whose values are never written. Source: ours; no line of ours has one."""


def blot_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the values of fields that are named like credentials."""
    return {name: BLOTTED if name.lower() in SECRET_FIELDS else value for name, value in event.items()}


_SHARED: Final[tuple[Processor, ...]] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    blot_secrets,
)


class _SidecarHandler(logging.StreamHandler[TextIO]):
    """A type of its own, so that a second `configure` finds and replaces the first one's."""


def configure(level: Level, fmt: Format, stream: TextIO) -> None:
    """Send all log lines to `stream`; `auto` writes for humans on a terminal and JSON elsewhere.

    May be called again to change the level or format.
    """
    console = fmt == "console" or (fmt == "auto" and stream.isatty())
    channel = _SidecarHandler(stream)
    channel.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=(
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_console(colors=stream.isatty()) if console else _json()),
            ),
        )
    )
    _install(channel, logging.getLevelNamesMapping()[level.upper()])


def logger(name: str) -> BoundLogger:
    """A logger of ours, which takes structured fields; `name` lies below `proxy`.

    It needs no set-up of structlog as a whole, so importing it changes nothing for anybody else.
    """
    made: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=(structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter),
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=True,
    )
    return made


def _install(channel: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _SidecarHandler)]:
        root.removeHandler(earlier)
    root.addHandler(channel)
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(OUR_LOGGER).setLevel(level)


def _json() -> tuple[Processor, ...]:
    return (structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=dump_line))


def _console(*, colors: bool) -> tuple[Processor, ...]:
    return (escape_controls, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_write_traceback))


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback without local variables, tokens among them, which the default (rich) prints.

    Every line is indented, so that the message of an error, which may quote a peer, cannot begin a line of the log.
    """
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(indent(printable_lines(text.getvalue()), "    "))


def dump_line(event: object, **_: object) -> str:
    """One line of JSON, whatever the fields hold: a line is never lost because a value is odd."""
    return printable_json(event)


def escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape control characters in texts, which could otherwise drive the operator's terminal."""
    return {printable(name): printable(value) if isinstance(value, str) else value for name, value in event.items()}
