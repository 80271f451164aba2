"""The endpoint event of the HTTP+SSE transport: what of it changes, and what never does."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.endpoint import rewritten, same_target, target_of, without_origin

pytestmark = pytest.mark.requirement("mcp.http_sse")

UPSTREAM = "http://127.0.0.1:3921"
OURS = "http://localhost:8765"


def _silent(_endpoint: bytes) -> None:
    return None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (b"http://127.0.0.1:3921/messages/?session_id=1", b"/messages/?session_id=1"),
        (b"HTTP://127.0.0.1:3921/m#x", b"/m#x"),
        (b"//127.0.0.1:3921/m", b"/m"),
        (b"http://127.0.0.1:3921", b"/"),
        (b"http://127.0.0.1:3921?session_id=1", b"/?session_id=1"),
        (b"http://localhost:3921/m", b"/m"),
        (b"http://[::1]:3921/m", b"/m"),
        (b"http://127.0.0.1:3921//evil.example/m", b"/.//evil.example/m"),
        (b"http://127.0.0.1:3921/\\evil.example/m", b"/./\\evil.example/m"),
        (b"http://127.0.0.1:3921\\evil.example/m", b"/./\\evil.example/m"),
    ],
)
def test_an_absolute_endpoint_at_the_server_is_told_by_path_alone(url: bytes, told: bytes) -> None:
    assert without_origin(url, UPSTREAM) == told


@pytest.mark.parametrize(
    "url",
    [
        b"/messages/?session_id=1",
        b"messages?session_id=1",
        b"",
        b"http://127.0.0.1:3922/m",
        b"https://127.0.0.1:3921/m",
        b"http://server.example:3921/m",
        b"http://user@127.0.0.1:3921/m",
        b"http://127.0.0.1:3921@server.example/m",
        b"http://127.0.0.1:none/m",
        b"http://[127.0.0.1:3921/m",
        b"http://127.0.0.1:3921/m m",
        b"http:///m",
        b"mailto:a@b",
    ],
)
def test_any_other_endpoint_is_left_alone(url: bytes) -> None:
    assert without_origin(url, UPSTREAM) is url


def test_names_and_ports_are_compared_as_urls_mean_them() -> None:
    assert without_origin(b"https://Server.Example:443/m", "https://server.example") == b"/m"
    assert without_origin(b"https://server.example/m", "https://server.example:443") == b"/m"
    url = b"http://127.0.0.1/m"
    assert without_origin(url, "http://server.example") is url


REST = st.text(st.sampled_from("/\\?#.%aZ09:@[];=&é ")).map(str.encode)


@given(REST)
def test_what_is_rewritten_stays_with_us_and_keeps_its_query(rest: bytes) -> None:
    url = UPSTREAM.encode() + rest
    told = without_origin(url, UPSTREAM)
    if told is url:
        return
    assert told.startswith(b"/")
    there, here = urlsplit(urljoin(OURS + "/sse", told.decode())), urlsplit(OURS)
    assert (there.scheme, there.netloc) == (here.scheme, here.netloc)
    assert there.query == rest.decode().partition("#")[0].partition("?")[2]


@given(st.binary(max_size=200), st.sampled_from(["http://127.0.0.1:3921", "https://server.example"]))
def test_no_bytes_break_the_rewriting_of_a_frame(frame: bytes, upstream: str) -> None:
    told: list[bytes] = []
    rewritten(b"event: endpoint\ndata: " + frame + b"\n\n", upstream, on_endpoint=told.append)
    for endpoint in told:
        target_of(endpoint, "/sse")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_only_the_data_of_the_endpoint_event_changes(end: bytes) -> None:
    lines = [b": a comment", b"id: http://127.0.0.1:3921/m", b"event: endpoint", b"retry: 5"]
    heard: list[bytes] = []
    frame = end.join([*lines, b"data: http://127.0.0.1:3921/m?s=1", b"", b""])
    found = rewritten(frame, UPSTREAM, on_endpoint=heard.append)
    assert found == end.join([*lines, b"data: /m?s=1", b"", b""])
    assert heard == [b"/m?s=1"]


@pytest.mark.parametrize(
    "frame",
    [
        b"event: message\ndata: http://127.0.0.1:3921/m\n\n",
        b"event: message\ndata: the endpoint is http://127.0.0.1:3921/m\n\n",
        b": endpoint http://127.0.0.1:3921/m\n\n",
        b"event: endpoint\n\n",
        b"event: endpoint\ndata:\n\n",
        b"event: endpoint\ndata: /messages/?session_id=1\n\n",
        b"event: endpoint\ndata: http://127.0.0.1:3921\ndata: /m\n\n",
    ],
)
def test_every_other_frame_is_the_same_object(frame: bytes) -> None:
    assert rewritten(frame, UPSTREAM, on_endpoint=_silent) is frame


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        (b"/messages/?session_id=1", "/messages/?session_id=1"),
        (b"messages?session_id=1", "/a/messages?session_id=1"),
        (b"?session_id=1", "/a/sse?session_id=1"),
        (b"/m%20m?s=%31#x", "/m m?s=1"),
        (b"http://elsewhere.example", "/"),
        (b"//[broken", None),
    ],
)
def test_a_place_is_known_by_path_and_query_wherever_it_is(endpoint: bytes, target: str | None) -> None:
    assert target_of(endpoint, "/a/sse") == target
    assert target is None or same_target(target) == target
