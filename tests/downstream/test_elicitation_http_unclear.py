"""An answer that names a question must not become a message because the Bridge cannot be asked just now."""

from pathlib import Path

import pytest

from tests.support.asking import RED
from tests.support.house import stand


@pytest.mark.requirement("answers.lookup")
async def test_an_answer_is_refused_while_nobody_can_tell_whose_question_it_names(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        alice, bob = [await made.bridge.token(who) for who in ("alice", "bob")]
        asked = (await made.bridge.ask(alice))[1]  # at the Bridge itself: this sidecar has never seen it
        await made.bridge.set(fail_next=1)
        data = {"elicitation_id": asked["elicitation_id"], "response_type": "accept", "content": RED}
        heard = await made.store(bob, data)
        assert (heard.status, heard.json["code"]) == (502, "answer_undelivered")
        assert await made.status(alice, asked["elicitation_id"]) == "pending"
        assert (await made.store(bob, data)).status == 200
        assert await made.status(alice, asked["elicitation_id"]) == "accepted"
