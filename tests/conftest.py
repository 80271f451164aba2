"""Rules for all tests: nothing blocks the event loop, the loop is the product's own, and no skip stays unseen."""

import asyncio
import inspect
import os
from collections.abc import Callable, Generator, Iterator, Mapping

import pytest
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # how long an example takes is the machine's doing

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
"""Set where everything must run: a skipped test then counts as failed, with its reason."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every async test on the loop that the product runs on."""
    return {"uvloop": _new_loop}


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_on_loose_exception)
    return loop


def _on_loose_exception(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """End a test that hangs: uvloop reports what pytest-timeout raises in its signal handler, and runs on."""
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


@pytest.fixture(autouse=True)
def _nothing_of_ours_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a blocking call of `proxy` inside the event loop an error, unless the test is marked `blocking`."""
    is_async = inspect.iscoroutinefunction(getattr(request.node, "obj", None))
    if not is_async or request.node.get_closest_marker("blocking"):
        yield
        return
    with blockbuster_ctx("proxy"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped where everything must run; an expected failure is no skip."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself as a whole."""
    report = yield
    if REQUIRE_ALL and report.skipped:
        _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    report.outcome = "failed"
    report.longrepr = f"skipped although REQUIRE_ALL=1: {reason}"
