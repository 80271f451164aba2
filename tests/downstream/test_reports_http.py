"""The doors of reports."""

import pytest
from pytest_aiohttp import AiohttpClient

from proxy.core.deeds import Refusal
from proxy.downstream.admin_http import build_admin_app
from proxy.reports.render import CONTENT_SECURITY_POLICY
from tests.support.admin_house import OPERATOR, VIEWER, AdminHouse, Client, ask

pytestmark = pytest.mark.requirement("report.security")

HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    house = AdminHouse()
    house.audit.refused(Refusal.HOST, subject=HOSTILE)
    await house.audit.close()
    return await aiohttp_client(build_admin_app(house.parts))


@pytest.mark.parametrize(
    ("query", "kind", "begin"),
    [
        ("", "text/markdown", "# Security report\n"),
        ("?format=md", "text/markdown", "# Security report\n"),
        ("?format=html", "text/html", "<!doctype html>"),
        ("?format=json&component=elicitation", "application/json", '{"report":"security","component":"elicitation"'),
    ],
)
async def test_a_viewer_reads_it_in_the_form_that_is_asked_for(
    client: Client, query: str, kind: str, begin: str
) -> None:
    response = await client.get(f"/reports/security{query}", headers=VIEWER)
    text = await response.text()
    assert (response.status, response.content_type, response.charset) == (200, kind, "utf-8")
    assert text.startswith(begin)
    assert response.headers["Cache-Control"] == "no-store"
    assert "\x1b" not in text
    assert "<script>" not in text or kind == "application/json"


async def test_the_page_may_show_its_own_style_and_nothing_else(client: Client) -> None:
    page = await client.get("/reports/security?format=html", headers=VIEWER)
    assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in await page.text()
    other = await client.get("/reports/security", headers=VIEWER)
    assert "style-src" not in other.headers["Content-Security-Policy"]


@pytest.mark.parametrize("query", ["format=pdf", "format=", "component=all"])
async def test_forms_and_components_that_there_are_not_are_refused(client: Client, query: str) -> None:
    status, problem = await ask(client, "GET", f"/reports/security?{query}")
    assert (status, problem["code"]) == (400, "invalid_input")
    assert str(problem["detail"]).startswith(f"{query.partition('=')[0]}: expected ")


async def test_nobody_reads_it_without_a_token(client: Client) -> None:
    assert (await ask(client, "GET", "/reports/security", headers={}))[0] == 401
    _, document = await ask(client, "GET", "/openapi.json", headers=OPERATOR)
    paths = document["paths"]
    assert isinstance(paths, dict)
    answer = paths["/reports/security"]["get"]["responses"]["200"]["content"]
    assert set(answer) == {"text/markdown", "text/html", "application/json"}
