"""How limits are told to a peer: header fields, put behind those of upstream, and members of errors."""

import http_sf
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.ids import AgentId
from proxy.core.limit_fields import (
    MAX_FIELD_CHARS,
    error_members,
    limit_fields,
    old_limit_fields,
    refusal_text,
    refused_by,
    retry_after_s,
    rpc_data,
)
from proxy.core.limits import Decision, LimitName, LimitTable
from proxy.core.rate import Rate, parse_byte_rate

QUESTIONS, CALLS, OCTETS = LimitName("questions"), LimitName("calls"), LimitName("bytes")
ALICE = AgentId("alice")
TEN = Rate(10, 60, 3)
WALL = 1_800_000_000.0

pytestmark = pytest.mark.requirement("limits.fields")


def after(taken: int, *, name: LimitName = QUESTIONS, rate: Rate = TEN, now: float = 0.0, cost: int = 1) -> Decision:
    """The decision on a call that comes after others which have taken so much at second 0."""
    table = LimitTable()
    table.take(name, ALICE, rate, now=0.0, cost=taken)
    return table.take(name, ALICE, rate, now=now, cost=cost)


def fields(*decisions: Decision, **upstream: str) -> dict[str, str]:
    lines = {name.replace("_", "-"): [line] for name, line in upstream.items()}
    return limit_fields(decisions, lines, wall=WALL)


def test_a_call_that_passes_is_told_the_policy_and_what_is_left() -> None:
    assert fields(after(0)) == {
        "RateLimit-Policy": '"questions";q=13;w=78',
        "RateLimit": '"questions";r=12;t=78',
    }
    assert fields() == {}


def test_a_refused_call_is_told_that_nothing_is_left_until_it_may_come_again() -> None:
    assert fields(after(13, now=0.5)) == {
        "RateLimit-Policy": '"questions";q=13;w=78',
        "RateLimit": '"questions";r=0;t=6',
        "Retry-After": "6",
    }
    assert fields(after(13, now=5.999_999))["Retry-After"] == "1", "never at once"


def test_a_call_that_will_never_pass_is_not_told_to_come_again() -> None:
    found = after(0, cost=14)
    assert fields(found) == {"RateLimit-Policy": '"questions";q=13;w=78', "RateLimit": '"questions";r=13;t=78'}
    assert rpc_data([found]) == {"violated-policies": ["questions"]}
    assert (
        refusal_text([found]) == "this call is larger than the limit questions (10/min+3) ever grants; make it smaller"
    )


def test_bytes_are_told_with_their_unit_and_a_strange_name_as_the_string_it_is() -> None:
    rate = parse_byte_rate("1KiB/s+1KiB")
    assert fields(after(0, name=OCTETS, rate=rate, cost=48))["RateLimit-Policy"] == (
        '"bytes";q=2048;qu="content-bytes";w=2'
    )
    assert fields(after(0, name=LimitName('a"b\\c')))["RateLimit"] == r'"a\"b\\c";r=12;t=78'


def test_of_several_limits_each_is_told_and_the_longest_wait_counts() -> None:
    fast = Rate(1, 1, 0)
    found = [after(13), after(1, name=CALLS, rate=fast), after(0, name=OCTETS)]
    assert fields(*found) == {
        "RateLimit-Policy": '"questions";q=13;w=78, "calls";q=1;w=1, "bytes";q=13;w=78',
        "RateLimit": '"questions";r=0;t=6, "calls";r=0;t=1, "bytes";r=12;t=78',
        "Retry-After": "6",
    }
    assert refused_by(found) == ["questions", "calls"]
    assert retry_after_s(found) == 6.0
    assert error_members(found) == {"violated-policies": ["questions", "calls"]}
    assert rpc_data(found) == {"violated-policies": ["questions", "calls"], "retryAfterMs": 6000}
    assert refusal_text(found) == "the limit questions (10/min+3), calls (1/s) is reached; retry in 6 s"


def test_the_wait_of_an_error_is_rounded_up_to_a_millisecond() -> None:
    assert retry_after_s([after(13, now=0.000_9)]) == 6.0
    assert retry_after_s([after(13, now=0.001_1)]) == 5.999
    assert retry_after_s([after(0)]) == 0.0


def test_an_agent_that_there_is_no_place_for_is_told_so() -> None:
    table = LimitTable(max_keys=1)
    table.take(QUESTIONS, ALICE, TEN, now=0.0)
    found = table.take(QUESTIONS, AgentId("bob"), TEN, now=0.0)
    assert fields(found)["RateLimit"] == '"questions";r=0;t=6'
    assert refusal_text([found]) == (
        "more agents call than can be counted under the limit questions (10/min+3); retry in 6 s"
    )


class TestUpstream:
    """What upstream said is never made more permissive."""

    def test_ours_stand_behind_its_own(self) -> None:
        assert fields(after(0), ratelimit_policy='"day";q=9;w=86400', ratelimit='"day";r=1;t=3600') == {
            "RateLimit-Policy": '"day";q=9;w=86400, "questions";q=13;w=78',
            "RateLimit": '"day";r=1;t=3600, "questions";r=12;t=78',
        }

    def test_a_name_that_it_uses_is_another_one_with_us_in_both_fields(self) -> None:
        found = fields(after(0), ratelimit='"questions";r=1;t=9, "sidecar-questions";r=2')
        assert found == {
            "RateLimit-Policy": '"sidecar-sidecar-questions";q=13;w=78',
            "RateLimit": '"questions";r=1;t=9, "sidecar-questions";r=2, "sidecar-sidecar-questions";r=12;t=78',
        }

    def test_several_lines_are_one_list(self) -> None:
        lines = {"ratelimit": ['"a";r=1', '"b";r=2;pk=:cHsdsRa894==:']}
        assert limit_fields([after(0)], lines, wall=WALL)["RateLimit"] == (
            '"a";r=1, "b";r=2;pk=:cHsdsRa894==:, "questions";r=12;t=78'
        )

    @pytest.mark.parametrize(
        "text",
        [
            "limit=100, remaining=50, reset=5",
            "100",
            "10;w=1",
            '"a";r=1,',
            '"a";R=1',
            '"a" "b"',
            '"a";r=1.2.3',
            '"a\x7f"',
            "(1 2)",
            '"a";r=' + "1" * MAX_FIELD_CHARS,
        ],
    )
    def test_what_is_no_list_of_today_stays_alone(self, text: str) -> None:
        assert fields(after(0), ratelimit=text) == {"RateLimit-Policy": '"questions";q=13;w=78'}
        assert fields(after(0), ratelimit_policy=text) == {"RateLimit": '"questions";r=12;t=78'}

    @pytest.mark.parametrize(
        ("theirs", "said"),
        [
            ("5", "6"),
            ("60", "60"),
            ("Fri, 15 Jan 2027 08:01:00 GMT", "60"),
            ("Fri, 15 Jan 2027 08:01:00 -0000", "60"),
            ("Fri, 15 Jan 2027 07:00:00 GMT", "6"),
            ("soon", "6"),
            ("", "6"),
        ],
    )
    def test_the_later_time_counts(self, theirs: str, said: str) -> None:
        assert fields(after(13), retry_after=theirs)["Retry-After"] == said

    def test_its_time_stays_where_the_call_passes_with_us(self) -> None:
        assert "Retry-After" not in fields(after(0), retry_after="5")

    @given(text=st.text(max_size=60), other=st.text(max_size=60))
    @settings(deadline=None)
    def test_whatever_it_sends_is_added_to_or_left(self, text: str, other: str) -> None:
        found = fields(after(13), ratelimit=text, retry_after=other)
        assert found.get("RateLimit", "").startswith(text.strip(" \t")) or "RateLimit" not in found
        assert int(found["Retry-After"]) >= 6


def _read(text: str) -> list[tuple[str, object]] | None:
    """A list of strings with their parameters, by another reader."""
    try:
        found = http_sf.parse(text.encode(), tltype="list")
    except http_sf.StructuredFieldError:
        return None
    assert isinstance(found, list)
    read: list[tuple[str, object]] = [
        (item[0], item[1]) for item in found if isinstance(item, tuple) and type(item[0]) is str
    ]
    return read if len(read) == len(found) else None


items = st.builds(
    lambda name, parameters, gap: orjson.dumps(name).decode() + "".join(parameters) + gap,
    st.text('abcé ,;"\\', max_size=4),
    st.lists(
        st.builds(
            lambda key, value: f";{key}{value}",
            st.sampled_from(["r", "t", " q", "*x", "a-b_c.d", "R", "", "9"]),
            st.sampled_from(
                ["", "=1", "=-1", "=1.5", "=1.2345", '="x,y"', '="', "=tok/en", "=:YQ==:", "=?1", "=@5", "="]
            ),
        ),
        max_size=3,
    ),
    st.sampled_from(["", " ", "\t", ","]),
)


@given(members=st.lists(items, min_size=1, max_size=4))
@example(members=['"a";r="x,y"'])
@settings(deadline=None, max_examples=400)
def test_whatever_we_add_to_reads_as_its_list_and_ours_at_the_end(members: list[str]) -> None:
    """The other reader of structured fields is http-sf."""
    text = ",".join(members)
    found = fields(after(0), ratelimit=text).get("RateLimit")
    before = _read(text)
    assert (found is None) == (before is None)
    if found is not None and before is not None:
        read = _read(found)
        assert read is not None
        assert read[: len(before)] == before
        assert read[len(before) :] == [("questions", {"r": 12, "t": 78})]


class TestOldFields:
    """X-RateLimit-*, which has room for one limit."""

    def test_they_tell_of_the_limit_that_refuses_or_has_least_left(self) -> None:
        half = after(6, name=CALLS)
        assert old_limit_fields([after(0), half], ()) == {
            "X-RateLimit-Limit": "13",
            "X-RateLimit-Remaining": "6",
            "X-RateLimit-Reset": "42",
        }
        large = after(0, name=OCTETS, cost=14)
        assert old_limit_fields([half, large], ())["X-RateLimit-Remaining"] == "13"

    def test_there_are_none_beside_those_of_upstream(self) -> None:
        assert old_limit_fields([after(0)], ["x-ratelimit-reset"]) == {}
        assert old_limit_fields([], ()) == {}
