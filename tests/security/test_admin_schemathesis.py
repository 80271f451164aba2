"""The admin port against its own description, tried by a generator of valid and broken requests."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from proxy.downstream.admin_api import OPERATIONS
from proxy.downstream.admin_http import build_admin_app
from proxy.downstream.connection import OPERATORS_BOUNDS, PortRunner
from tests.support.admin_house import OPERATE, AdminHouse

BOUND_S = 90
"""Until the generator is ended; it takes a tenth of it on a quiet machine."""

CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
"""
"""Its defaults, and 413: a list beyond its bound may be a body beyond its bound."""


@asynccontextmanager
async def _port(house: AdminHouse) -> AsyncIterator[int]:
    runner = PortRunner(build_admin_app(house.parts), shutdown_timeout_s=0.01, bounds=OPERATORS_BOUNDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _generate(folder: Path, port: int, *words: str) -> tuple[int, str]:
    """Exit code and words of the generator; its file of requests stays in the folder."""
    (folder / "schemathesis.toml").write_text(CONFIG, "utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
    options = ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1"]
    options += ["--continue-on-failure", "--no-shrink", "--no-color", "--generation-database", "none", *words]
    running = await asyncio.create_subprocess_exec(
        *command,
        f"http://127.0.0.1:{port}/openapi.json",
        *options,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "NO_PROXY": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(BOUND_S):
            told, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    return running.returncode or 0, told.decode()


@pytest.mark.requirement("admin.described")
async def test_the_admin_port_does_what_its_description_says(tmp_path: Path) -> None:
    house = AdminHouse()
    async with _port(house) as port:
        code, told = await _generate(tmp_path, port, "-H", f"Authorization: Bearer {OPERATE}")
    assert code == 0, told
    assert f"Tested: {len(OPERATIONS) - 1}\n" in told, "each operation but that of the description itself"
    assert house.recorder.snapshot()["defects"] == 0


@pytest.mark.requirement("admin.described")
async def test_a_door_that_does_something_else_is_found(tmp_path: Path) -> None:
    house = AdminHouse()
    house.parts = replace(house.parts, clear_caches=lambda: {"credentials": object()})  # type: ignore[dict-item]  # broken on purpose
    async with _port(house) as port:
        code, told = await _generate(
            tmp_path, port, "-H", f"Authorization: Bearer {OPERATE}", "--include-path", "/cache/clear"
        )
    assert (code, "Server error" in told) == (1, True), told
