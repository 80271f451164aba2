"""What the event store refuses."""

import pytest

from proxy.devbridge import content
from proxy.devbridge.content import Allowance, check_content
from proxy.devbridge.wire import WireError


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"text": "eval(x)"}, r"Dangerous pattern detected in event.data.text: eval\s*\("),
        ({"a": {"b": "SETTIMEOUT ("}}, r"Dangerous pattern detected in event.data.a.b: setTimeout\s*\("),
        ({"a": ["ok", "<script src=x>"]}, "Dangerous pattern detected in event.data.a[1]: <script[^>]*>"),
        ({"javascript:": 1}, "Dangerous pattern detected in event.data.key: javascript:"),
        ({"a": "onclick = 1"}, r"Dangerous pattern detected in event.data.a: on\w+\s*="),
        ({"a": "\\x41"}, r"Dangerous pattern detected in event.data.a: \\x[0-9a-f]{2}"),
        ({"text": "x" * 1_100_000}, "event.data.text length 1100000 exceeds limit 1048576"),
    ],
)
def test_refused_content_is_named_with_its_place(data: object, text: str) -> None:
    with pytest.raises(WireError) as refused:
        check_content(data)
    assert refused.value.status == 500
    assert refused.value.detail == f"Security validation failed: {text}"


def test_deep_nesting_is_refused() -> None:
    deep: object = 1
    for _ in range(12):
        deep = {"a": deep}
    with pytest.raises(WireError, match="nesting too deep"):
        check_content(deep)


def test_ordinary_content_passes() -> None:
    check_content({"a": ["b", 1, None, {"c": True}], "message": "evaluate (this)"})


def test_an_allowance_counts_each_agent_by_itself_and_forgets_after_a_minute() -> None:
    allowance = Allowance(2)
    assert [allowance.take("alice", at) for at in (0.0, 1.0, 2.0)] == [True, True, False]
    assert allowance.take("bob", 2.0)
    assert allowance.take("alice", 60.0)
    assert not allowance.take("alice", 60.5)


def test_an_allowance_forgets_the_oldest_agent_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "MAX_AGENTS", 1)
    allowance = Allowance(1)
    assert allowance.take("alice", 0.0)
    assert allowance.take("bob", 0.0)
    assert allowance.take("alice", 0.0)
