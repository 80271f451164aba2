"""Attacks on the admin port: by pages, by slow and idle peers, by guesses at tokens, by what is no HTTP at all."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import click
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from proxy.cli.main import COMMANDS, LazyCommands
from proxy.config.tokens import Role, Token
from proxy.core.flags import FlagSet
from proxy.core.secret import Secret
from proxy.downstream import admin_body, connection
from proxy.downstream.admin_api import OPERATIONS, Operation
from proxy.downstream.admin_auth import Need
from proxy.downstream.admin_http import build_admin_app
from proxy.downstream.connection import OPERATORS_BOUNDS, PortBounds, PortRunner
from proxy.downstream.guard_fields import GUARD_FIELDS
from tests.support.admin_house import OPERATE, OPERATOR, VIEWER, AdminHouse, Client, ask
from tests.support.house import until
from tests.support.raw_http import Reply, connect

PAGE = {"Origin": "http://localhost:3000"}
"""A page of another program of this machine, whose name is one of ours."""

SECRET = "operator-token-that-nobody-may-see"
"""Planted, to be looked for."""

SECRET_NAME = re.compile(r"token|secret|password|credential|keys?$")


@pytest.fixture
def house() -> AdminHouse:
    return AdminHouse()


@pytest.fixture
async def client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_admin_app(house.parts))


@asynccontextmanager
async def _port(house: AdminHouse, bounds: PortBounds = OPERATORS_BOUNDS) -> AsyncIterator[int]:
    runner = PortRunner(build_admin_app(house.parts), shutdown_timeout_s=0.01, bounds=bounds)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _path(operation: Operation) -> str:
    return re.sub(r"{\w+}", "ann", operation.document_path)


def _unchanged(house: AdminHouse) -> bool:
    return house.board.flags == FlagSet() and house.board.forced() == {} and house.shutdowns == 0


@pytest.mark.requirement("admin.guarded_replies")
class TestReplies:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    @pytest.mark.parametrize("headers", [OPERATOR, VIEWER, {}, {**OPERATOR, **PAGE}, {"Host": "evil.example"}])
    async def test_every_reply_tells_a_browser_to_make_nothing_of_it_and_to_show_it_to_nobody(
        self, client: Client, operation: Operation, headers: dict[str, str]
    ) -> None:
        reply = await client.request(operation.method, _path(operation), headers=headers)
        assert {name: reply.headers.get(name) for name in GUARD_FIELDS} == dict(GUARD_FIELDS)
        assert not [name for name in reply.headers if name.lower().startswith("access-control-")]
        assert reply.headers["Server"] == "elicit-sidecar"

    @pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/health"), ("OPTIONS", "*")])
    async def test_refusals_have_the_same_fields(self, client: Client, method: str, path: str) -> None:
        reply = await client.request(method, f"/{path.lstrip('/')}", headers=OPERATOR)
        assert reply.status in {404, 405}
        assert {name: reply.headers.get(name) for name in GUARD_FIELDS} == dict(GUARD_FIELDS)

    async def test_what_is_no_http_is_refused_without_a_word_of_it_in_reply_or_log(
        self, house: AdminHouse, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with _port(house) as port, connect(port) as wire, asyncio.timeout(5):
            await wire.send(
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\0\r\n\r\n" % SECRET.encode()
            )
            reply = await wire.reply()
        assert reply.status == 400
        assert {name.encode(): value.encode() for name, value in GUARD_FIELDS.items()}.items() <= dict(
            reply.headers
        ).items()
        assert SECRET.encode() not in reply.body + b"".join(value for _, value in reply.headers)
        assert "refused what is no HTTP request" in caplog.text
        assert SECRET not in caplog.text


@pytest.mark.requirement("admin.no_cross_site")
class TestPages:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    @pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null"])
    async def test_a_preflight_is_refused_and_grants_nothing(
        self, client: Client, operation: Operation, origin: str
    ) -> None:
        asked = {"Origin": origin, "Access-Control-Request-Method": operation.method}
        asked["Access-Control-Request-Headers"] = "authorization, content-type"
        reply = await client.options(_path(operation), headers=asked)
        assert reply.status in {401, 403, 405}
        assert not [name for name in reply.headers if name.lower().startswith("access-control-")]

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
    async def test_looking_changes_nothing_whatever_the_path(
        self, house: AdminHouse, client: Client, operation: Operation, method: str
    ) -> None:
        target = f"{_path(operation)}?agent_id=ann&cohort=elicitation&elicitation_enabled=true&_method=POST"
        body = b'{"agent_id":"ann","elicitation_enabled":true}'
        headers = {**OPERATOR, "X-HTTP-Method-Override": "POST", "Content-Type": "application/json"}
        await client.request(method, target, data=body, headers=headers)
        assert _unchanged(house)

    @pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.need is Need.CHANGE], ids=lambda o: o.name)
    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    async def test_what_a_form_can_send_is_refused_from_a_page_even_with_a_token(
        self, house: AdminHouse, client: Client, operation: Operation, kind: str
    ) -> None:
        body = b'{"agent_id":"ann","elicitation_enabled":true}'
        headers = {**OPERATOR, **PAGE, **({"Content-Type": kind} if kind else {})}
        status, document = await ask(client, operation.method, _path(operation), data=body, headers=headers)
        assert (status, document["code"]) == (403, "host_refused")
        assert _unchanged(house)

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "anything"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_browser_that_says_another_site_calls_is_believed(
        self, house: AdminHouse, client: Client, site: str, method: str
    ) -> None:
        headers = {**OPERATOR, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        status, document = await ask(client, method, "/feature_flags", json={"legacy_support": False}, headers=headers)
        assert (status, document["code"]) == (403, "host_refused")
        assert _unchanged(house)

    async def test_a_page_of_this_port_and_a_followed_link_are_served(self, client: Client) -> None:
        own = {**OPERATOR, **PAGE, "Sec-Fetch-Site": "same-origin"}
        assert (await ask(client, "POST", "/feature_flags", json={"legacy_support": False}, headers=own))[0] == 200
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await ask(client, "GET", "/health", headers=link))[0] == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "localhost:8767@evil.example", "localhost.", ""]
    )
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    async def test_no_path_answers_to_a_foreign_name(
        self, house: AdminHouse, client: Client, operation: Operation, host: str
    ) -> None:
        reply = await client.request(operation.method, _path(operation), headers={**OPERATOR, "Host": host})
        assert reply.status in {400, 403}
        assert _unchanged(house)


@dataclass
class Counting:
    """Stands where a secret does, and counts who is compared with it."""

    text: str
    asked: int = 0

    def matches(self, candidate: str) -> bool:
        self.asked += 1
        return candidate == self.text


@pytest.mark.requirement("admin.constant_time")
class TestTokens:
    @pytest.mark.parametrize("given", ["the-first-token-of-all", "the-last-token-of-all", "none-of-these-tokens"])
    async def test_a_token_is_compared_with_every_other_whichever_it_is(
        self, house: AdminHouse, aiohttp_client: AiohttpClient, given: str
    ) -> None:
        known = [Counting(text) for text in ("the-first-token-of-all", "another-token-of-all", "the-last-token-of-all")]
        tokens = tuple(Token(Role.OPERATOR, cast("Secret", secret)) for secret in known)
        client: Client = await aiohttp_client(build_admin_app(replace(house.parts, tokens=tokens)))
        await client.get("/feature_flags", headers={"Authorization": f"Bearer {given}"})
        assert [secret.asked for secret in known] == [1, 1, 1]

    def test_texts_of_any_length_are_compared_as_digests_of_one_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[int, int]] = []

        def compare(one: bytes, other: bytes) -> bool:
            seen.append((len(one), len(other)))
            return one == other

        monkeypatch.setattr("proxy.core.secret.hmac.compare_digest", compare)
        secret = Secret(OPERATE)
        assert [secret.matches(text) for text in (OPERATE, "", OPERATE[:-1], "x" * 9000)] == [True, False, False, False]
        assert set(seen) == {(32, 32)}

    @pytest.mark.parametrize("name", list(COMMANDS))
    def test_no_command_takes_a_secret_where_the_process_list_shows_it(self, name: str) -> None:
        command = LazyCommands().get_command(click.Context(click.Command("x")), name)
        assert command is not None
        nested = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        told = [parameter for each in nested for parameter in each.params if SECRET_NAME.search(parameter.name or "")]
        assert [parameter.name for parameter in told if not isinstance(parameter.type, click.Path)] == []


@pytest.mark.requirement("admin.slow_peers")
class TestSlowPeers:
    @pytest.mark.parametrize("first", [b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
    async def test_a_head_that_does_not_end_is_cut(
        self, house: AdminHouse, monkeypatch: pytest.MonkeyPatch, first: bytes
    ) -> None:
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
        async with _port(house) as port, connect(port) as wire, asyncio.timeout(5):
            if first:
                await wire.send(first)
                assert (await wire.reply()).status == 200
            await wire.send(b"GET /livez HTTP/1.1\r\nX-Slow: ")
            assert await wire.reader.read() == b""

    async def test_line_ends_between_two_calls_begin_no_head(
        self, house: AdminHouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.01)
        call = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with _port(house) as port, connect(port) as wire, asyncio.timeout(5):
            await wire.send(call)
            assert (await wire.reply()).status == 200
            await wire.send(b"\r\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await wire.reader.read()
            await wire.send(call)
            assert (await wire.reply()).status == 200

    @pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
    async def test_a_body_that_does_not_end_is_refused_and_nothing_changes(
        self, house: AdminHouse, monkeypatch: pytest.MonkeyPatch, framing: bytes
    ) -> None:
        monkeypatch.setattr(admin_body, "BODY_WITHIN_S", 0.05)
        monkeypatch.setattr(admin_body.read_object, "__kwdefaults__", {"within_s": 0.05})
        head = b"POST /feature_flags HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n%b\r\n\r\n"
        async with _port(house) as port, connect(port) as wire, asyncio.timeout(5):
            await wire.send(head % (OPERATE.encode(), framing) + b"2\r\n{ \r\n")
            assert (await wire.reply()).status == 400
        assert _unchanged(house)

    async def test_connections_are_bounded_and_a_place_is_free_again_when_one_leaves(self, house: AdminHouse) -> None:
        call = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

        async def heard(port: int) -> Reply:
            async with connect(port) as wire:
                await wire.send(call)
                return await wire.reply()

        async with _port(house, PortBounds(connections=2)) as port, asyncio.timeout(5):
            async with connect(port) as one, connect(port) as other:
                for wire in (one, other):
                    await wire.send(call)
                    assert (await wire.reply()).status == 200
                refused = await heard(port)
                assert (refused.status, refused.all(b"retry-after")) == (503, [b"1"])
            served: list[int] = []
            while 200 not in served:
                served.append((await heard(port)).status)

    async def test_an_idle_connection_is_closed(self, house: AdminHouse) -> None:
        async with _port(house, PortBounds(idle_s=0.05)) as port, connect(port) as wire, asyncio.timeout(5):
            await wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await wire.reply()).status == 200
            assert await wire.reader.read() == b""

    def test_the_admin_port_has_both_bounds(self) -> None:
        assert OPERATORS_BOUNDS.connections is not None
        assert OPERATORS_BOUNDS.idle_s <= 120


@pytest.mark.requirement("admin.guarded_replies")
async def test_a_call_without_a_precondition_is_not_one_with_an_empty_one(house: AdminHouse, client: Client) -> None:
    headers = {**OPERATOR, "If-Match": ""}
    status, document = await ask(client, "POST", "/feature_flags", json={"legacy_support": False}, headers=headers)
    assert (status, document["code"]) == (400, "invalid_input")
    assert _unchanged(house)
    await until(lambda: house.recorder.outcomes[-1].status == 400)
