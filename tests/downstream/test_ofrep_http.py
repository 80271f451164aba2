"""OpenFeature remote evaluation over a real socket."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from pytest_aiohttp import AiohttpClient

from proxy.core.cohort import Cohort, bucket_of
from proxy.core.flags import FLAG_PARSERS, FlagSet
from proxy.core.ids import AgentId
from proxy.downstream.admin_http import build_admin_app
from tests.support.admin_house import VIEWER, AdminHouse, Client

BULK = "/ofrep/v1/evaluate/flags"
ANN = {"context": {"targetingKey": "ann", "role": "tester"}}


@pytest.fixture
def house() -> AdminHouse:
    made = AdminHouse()
    made.board.flags = FlagSet(elicitation_enabled=True, elicitation_whitelist=("pilots",), version=3)
    return made


@pytest.fixture
async def client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_admin_app(house.parts))


async def _post(
    client: Client, path: str, body: object = None, *, headers: Mapping[str, str] = VIEWER
) -> tuple[int, Mapping[str, object]]:
    sent = {"data": body} if isinstance(body, bytes) else {"json": ANN if body is None else body}
    response = await client.post(path, headers=headers, **sent)
    assert response.content_type == "application/json"
    document = await response.json()
    assert isinstance(document, dict)
    return response.status, document


async def test_one_flag_is_evaluated_for_one_agent(client: Client) -> None:
    status, document = await _post(client, f"{BULK}/elicitation")
    assert status == 200
    assert document == {
        "key": "elicitation",
        "value": True,
        "reason": "TARGETING_MATCH",
        "variant": "elicitation",
        "metadata": {"version": 3, "bucket": bucket_of("s", "ann"), "reason": "whitelist"},
    }


async def test_all_flags_are_evaluated_at_once(client: Client) -> None:
    status, document = await _post(client, BULK)
    flags = document["flags"]
    assert isinstance(flags, list)
    assert (status, [flag["key"] for flag in flags]) == (200, [*FLAG_PARSERS, "elicitation"])
    assert {flag["reason"] for flag in flags} == {"STATIC", "TARGETING_MATCH"}


async def _tag(client: Client, known: str = "") -> tuple[int, str]:
    headers = {**VIEWER, "If-None-Match": known} if known else VIEWER
    response = await client.post(BULK, json=ANN, headers=headers)
    assert bool(await response.read()) == (response.status == 200)
    return response.status, response.headers["ETag"]


async def test_a_caller_that_knows_all_of_it_gets_304(client: Client) -> None:
    _, tag = await _tag(client)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        assert await _tag(client, known) == (304, tag)
    for unknown in ('"other"', tag.strip('"'), ","):
        assert await _tag(client, unknown) == (200, tag)


async def test_a_change_of_flags_or_an_override_gets_another_tag(house: AdminHouse, client: Client) -> None:
    _, first = await _tag(client)
    house.board.flags = replace(house.board.flags, legacy_fallback=False, version=4)
    status, second = await _tag(client, first)
    await house.board.force(AgentId("ann"), Cohort.LEGACY)
    _, third = await _tag(client, second)
    assert (status, len({first, second, third})) == (200, 3)


@pytest.mark.parametrize("key", ["elicitation_percent", "a/b", "version"])
async def test_an_unknown_flag_is_not_found_in_the_words_of_ofrep(client: Client, key: str) -> None:
    status, document = await _post(client, f"{BULK}/{key}")
    assert (status, document["key"], document["errorCode"]) == (404, key, "FLAG_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "PARSE_ERROR"),
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"[" * 4000, "PARSE_ERROR"),
        ({}, "TARGETING_KEY_MISSING"),
        ({"context": {}}, "TARGETING_KEY_MISSING"),
        ({"context": []}, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": 1}}, "INVALID_CONTEXT"),
    ],
)
async def test_a_body_that_cannot_be_evaluated_is_refused_in_the_words_of_ofrep(
    house: AdminHouse, client: Client, body: object, code: str
) -> None:
    status, one = await _post(client, f"{BULK}/elicitation", body)
    assert (status, one["key"], one["errorCode"]) == (400, "elicitation", code)
    status, every = await _post(client, BULK, body)
    assert (status, every["errorCode"], every["errorDetails"]) == (400, code, one["errorDetails"])
    assert "key" not in every
    assert {outcome.error_code for outcome in house.recorder.outcomes} == {"evaluation_refused"}


async def test_an_evaluation_is_no_change_so_loopback_may_look_without_tokens(
    house: AdminHouse, aiohttp_client: AiohttpClient
) -> None:
    open_client: Client = await aiohttp_client(build_admin_app(replace(house.parts, tokens=())))
    assert (await _post(open_client, BULK, headers={}))[0] == 200
    assert (await open_client.post(BULK, json=ANN, headers={"Origin": "http://evil.example"})).status == 403
    assert [(outcome.result, outcome.status) for outcome in house.recorder.outcomes] == [
        ("served", 200),
        ("refused", 403),
    ]
