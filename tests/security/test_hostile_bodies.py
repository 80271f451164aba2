"""Bodies that say one thing to us and another to the Bridge, and bodies that are too much."""

import gzip
import zlib
from pathlib import Path

import orjson
import pytest

from proxy.downstream.body import MAX_LOOK_BYTES
from tests.support.asking import RED, ask_bob
from tests.support.corpus import OK
from tests.support.house import OFF, ON, house, stand
from tests.support.raw_upstream import answers, raw_upstream

WRONG = {"colour": 7}
"""No answer to the question."""


def _answer(elicitation_id: object, content: object = WRONG) -> bytes:
    return orjson.dumps(
        {"elicitation_id": elicitation_id, "responding_agent": "bob", "response_type": "accept", "data": content}
    )


CODED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity, gzip": gzip.compress,
    "x-anything": lambda body: body,
}


@pytest.mark.requirement("security.one_body")
class TestTwoReadings:
    @pytest.mark.parametrize("coding", list(CODED))
    @pytest.mark.parametrize("path", ["/elicitation/respond", "/elicitation/create", "/event/store"])
    async def test_a_compressed_body_is_not_passed_on_unseen(self, tmp_path: Path, path: str, coding: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            before = made.arrived(f"POST {path}")
            raw, headers = CODED[coding](_answer(asked.named)), {"Content-Encoding": coding}
            heard = await made.house.call("POST", path, token=asked.bob, raw=raw, headers=headers)
            assert (heard.status, heard.problem["code"]) == (400, "invalid_input")
            assert await asked.status() == "pending"
            assert made.arrived(f"POST {path}") == before

    @pytest.mark.parametrize(
        "twist",
        [
            lambda body: body.decode().encode("utf-16"),
            lambda body: body.decode().encode("utf-32-le"),
            lambda body: b"\xef\xbb\xbf" + body,
            lambda body: body.replace(b"7", b"NaN"),
            lambda body: body.replace(b"7", b"-Infinity"),
            lambda body: body.replace(b"7", b"9" * 400),
            lambda body: body.replace(b"7", rb'"\ud800"'),
            lambda body: body.replace(b"7", b'"\xed\xa0\x80"'),
            lambda body: body.replace(b"7", b"[" * 1500 + b"]" * 1500),
            lambda body: body.replace(b"7", b'"\x01"'),
        ],
        ids=[
            "utf-16",
            "utf-32",
            "bom",
            "nan",
            "infinity",
            "400 digits",
            "surrogate",
            "raw surrogate",
            "deep",
            "control",
        ],
    )
    async def test_an_answer_that_only_another_reader_can_read_reaches_none(self, twist: object) -> None:
        assert callable(twist)
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            upstream.play(answers(OK))
            raw = twist(_answer("elicit_1"))
            heard = await made.call("POST", "/elicitation/respond", token="0123456789", raw=raw)
            is_json_for_nobody = raw.count(b"\x01") > 0
            assert heard.status == (200 if is_json_for_nobody else 400)
            assert len([got for got in upstream.received if b"respond" in got.target]) == is_json_for_nobody

    async def test_an_answer_cannot_be_padded_beyond_what_is_looked_into(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            raw = _answer(asked.named) + b" " * MAX_LOOK_BYTES
            heard = await made.house.call("POST", "/elicitation/respond", token=asked.bob, raw=raw)
            assert (heard.status, heard.problem["code"]) == (413, "body_too_large")
            assert await asked.status() == "pending"

    @pytest.mark.parametrize(
        "twist",
        [
            lambda body: body.replace(b"elicitation_id", rb"elicitation\u005fid"),
            lambda body: body[:-1] + b',"data":{"colour":"red"},"data":{"colour":7}}',
            lambda body: b" \r\n\t" + body + b"\n" * 1000,
        ],
        ids=["escaped name", "twins", "blanks"],
    )
    async def test_an_answer_in_disguise_is_judged_like_any_other(self, tmp_path: Path, twist: object) -> None:
        assert callable(twist)
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await made.house.call(
                "POST", "/elicitation/respond", token=asked.bob, raw=twist(_answer(asked.named))
            )
            assert (heard.status, heard.problem["code"]) == (422, "answer_invalid")
            assert await asked.status() == "pending"
            good = await made.house.call("POST", "/elicitation/respond", token=asked.bob, raw=_answer(asked.named, RED))
            assert good.status == 200


@pytest.mark.requirement("door.untouched")
class TestUntouched:
    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    @pytest.mark.parametrize(
        "body",
        [
            b'{"agent_id":"bob","data":{"n":9007199254740993,"m":-18446744073709551617,"x":1.10,"e":1E5}}',
            b'{"agent_id":"bob","data":{"n":NaN,"i":Infinity}}',
            b'{"agent_id":"bob","data":{"a":1,"a":2}}',
            b'{"agent_id":"bob","data":' + b"[" * 300 + b"]" * 300 + b"}",
            b'{"agent_id":"bob","data":{"s":"\\ud800"}}',
            b'{"agent_id":"bob","data":{"s":"\\u001b[2J\\u202e"}}',
        ],
        ids=["numbers", "nan", "twins", "deep", "surrogate", "escapes"],
    )
    async def test_a_message_goes_on_byte_for_byte_whatever_its_values(
        self, body: bytes, flags: dict[str, str]
    ) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", flags) as made:
            upstream.play(answers(OK))
            heard = await made.call("POST", "/event/store", token="0123456789", raw=body)
            assert heard.status == 200
            assert [got.body for got in upstream.received if got.target == b"/event/store"] == [body]

    async def test_numbers_beyond_2_to_the_53_reach_the_asker_as_they_were_given(self, tmp_path: Path) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        async with stand(tmp_path) as made:
            asked = await ask_bob(made, schema=schema)
            raw = _answer(asked.named, {"n": 2**53 + 1})
            assert (await made.house.call("POST", "/elicitation/respond", token=asked.bob, raw=raw)).status == 200
            _, log = await made.bridge.call("GET", "/event/query?limit=1000", token=asked.alice)
            assert "9007199254740993" in str(log)
