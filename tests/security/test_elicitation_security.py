"""The eight checks that the run sheets name, each tried for real on a sidecar before a Bridge that believes everybody.

An attack is shown to work at the Bridge itself, wherever it does; then it is refused by the sidecar, with its code,
counted and written down, without the Bridge hearing of it; and the honest call beside it works. The same attacks over
MCP are in `test_elicitation_security_mcp.py`.

Source: RUNSHEETS.md lines 31 to 38; BRIDGE.md 5 (security checks named), 2.1 and 2.5 (what the Bridge lets through).
"""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from proxy.core.ids import AgentId
from proxy.core.signing import Refusal
from tests.support.fort import Fort, answer_of, forged, fort, is_problem, key_of, question_of
from tests.support.house import OPERATOR, VIEWER
from tests.support.raw_http import connect

IMPERSONATIONS = "impersonations_total"
REPLAYS = "replays_total"
CREATE, RESPOND, STORE = "/elicitation/create", "/elicitation/respond", "/event/store"

PAGE = "https://evil.example"
"""Where a page of somebody else comes from."""


def _failures(reason: Refusal) -> str:
    return f'signature_failures_total{{reason="{reason.value}"}}'


def _errors(code: str) -> str:
    return f'errors_total{{code="{code}",fault="agent"}}'


def _session_of(agent: str) -> dict[str, str]:
    return {"agent_id": agent, "ip_address": "127.0.0.1", "user_agent": "test"}


def _event_of(agent: str) -> dict[str, object]:
    return {"event_type": "CUSTOM", "agent_id": agent, "data": {"n": 1}}


@pytest.mark.requirement("security.impersonation")
class TestImpersonation:
    """Mallory speaks as somebody else, with a key and a token of her own."""

    @pytest.mark.parametrize(
        ("target", "body"),
        [
            (CREATE, question_of("bob")),
            (STORE, _event_of("bob")),
            ("/event/wait?agent_id=bob&timeout_seconds=0", None),
            ("/elicitation/pending?agent_id=bob", None),
            ("/session/create", _session_of("bob")),
            ("/expert/register", {"agent_id": "bob", "agent_type": "expert", "capabilities": []}),
        ],
        ids=["question", "event", "wait", "pending", "session", "expert"],
    )
    async def test_a_call_in_anothers_name_works_at_the_bridge_and_is_refused_here(
        self, tmp_path: Path, target: str, body: object
    ) -> None:
        method = "GET" if body is None else "POST"
        async with fort(tmp_path) as made:
            direct, _ = await made.bridge.call(method, target, token=made.tokens["mallory"], body=body)
            assert direct == 200
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", agent_id="mallory", claimed="bob"):
                heard = await made.call("mallory", method, target, body)
            assert is_problem(heard, 403, "impersonation")
            assert (await made.call("bob", method, target, body)).status == 200

    async def test_an_answer_in_anothers_name_is_refused_and_the_question_stays_open(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            asked = await made.asked()
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", claimed="bob"):
                heard = await made.call("mallory", "POST", RESPOND, answer_of("bob", asked))
            assert is_problem(heard, 403, "impersonation")
            assert await made.stand.status(made.tokens["alice"], asked) == "pending"
            assert (await made.call("bob", "POST", RESPOND, answer_of("bob", asked))).status == 200
            assert await made.stand.status(made.tokens["alice"], asked) == "accepted"

    async def test_a_name_that_two_readers_take_differently_is_nobodys(self, tmp_path: Path) -> None:
        body = b'{"from_agent":"mallory","from_agent":"alice","to_agent":"bob","message":"m","schema":{}}'
        async with fort(tmp_path) as made:
            assert (await made.bridge.call("POST", CREATE, token=made.tokens["mallory"], raw=body))[0] == 200
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", rule="unreadable"):
                heard = await made.call("mallory", "POST", CREATE, body)
            assert is_problem(heard, 403, "impersonation")


@pytest.mark.requirement("security.session_hijack")
class TestSessionHijack:
    """Mallory has a session token of bob's: the Bridge opens one for whoever asks."""

    async def test_who_opens_anothers_session_answers_for_it_at_the_bridge_and_not_here(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            stolen = await made.bridge.token("bob")
            direct = await made.asked()
            assert (await made.bridge.answer(stolen, direct, data={"ok": True}))[0] == 200
            assert await made.stand.status(made.tokens["alice"], direct) == "accepted"

            asked = await made.asked()
            attack = made.sign("mallory", "POST", RESPOND, answer_of("bob", asked), token=stolen)
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", rule="token", agent_id="mallory"):
                heard = await made.send(attack)
            assert is_problem(heard, 403, "impersonation")
            assert await made.stand.status(made.tokens["alice"], asked) == "pending"
            assert (await made.call("bob", "POST", RESPOND, answer_of("bob", asked))).status == 200

    async def test_a_stolen_token_is_worth_nothing_without_a_key(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            asked = await made.asked()
            async with made.is_refused(_failures(Refusal.ABSENT), breach="signature", rule="absent"):
                heard = await made.stand.respond(made.tokens["bob"], asked, data={"ok": True})
            assert is_problem(heard, 401, "signature_refused")
            assert await made.stand.status(made.tokens["alice"], asked) == "pending"

    async def test_two_tokens_at_once_are_read_as_no_ones(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made, connect(made.house.port) as wire:
            call = made.sign("mallory", "GET", "/elicitation/pending?agent_id=mallory")
            fields = [*call.headers.items(), ("Authorization", f"Bearer {made.tokens['bob']}"), ("Host", "127.0.0.1")]
            head = "".join(f"{name}: {value}\r\n" for name, value in fields)
            async with made.is_refused(IMPERSONATIONS, rule="unreadable", agent_id="mallory"):
                await wire.send(f"GET {call.target} HTTP/1.1\r\n{head}\r\n".encode())
                assert (await wire.reply()).status == 403
            assert (await made.call("mallory", "GET", call.target)).status == 200


@pytest.mark.requirement("security.replay")
class TestReplay:
    """Mallory has recorded a call of alice's and sends it again, byte for byte."""

    async def test_a_recorded_call_asks_again_at_the_bridge_and_not_here(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            body = question_of("alice")
            for _ in range(2):
                assert (await made.bridge.call("POST", CREATE, token=made.tokens["alice"], body=body))[0] == 200
            recorded = made.sign("alice", "POST", CREATE, body)
            assert (await made.send(recorded)).status == 200
            async with made.is_refused(REPLAYS, breach="replay", rule="replayed", agent_id="alice"):
                heard = await made.send(recorded)
            assert is_problem(heard, 403, "replay_refused")
            assert (await made.call("alice", "POST", CREATE, body)).status == 200

    @pytest.mark.parametrize(("after_s", "code"), [(304, "replay_refused"), (305, "signature_refused")])
    async def test_it_never_counts_again_whether_its_nonce_is_remembered_or_its_time_is_over(
        self, tmp_path: Path, after_s: int, code: str
    ) -> None:
        async with fort(tmp_path) as made:
            recorded = made.sign("alice", "POST", STORE, _event_of("alice"))
            assert (await made.send(recorded)).status == 200
            made.stand.clock.advance(after_s)
            metric = REPLAYS if code == "replay_refused" else _failures(Refusal.EXPIRED)
            async with made.is_refused(metric, agent_id="alice" if metric == REPLAYS else ""):
                heard = await made.send(recorded)
            assert heard.problem["code"] == code

    async def test_a_restart_of_the_sidecar_forgets_no_call(self, tmp_path: Path) -> None:
        given = {"state.url": f"sqlite://{tmp_path}/state.db", "signatures.origins": "http://sidecar.example"}
        async with fort(tmp_path, given) as made:
            recorded = made.sign("alice", "GET", "/health", token="")
            assert (await made.send(recorded)).status == 200
        async with fort(tmp_path, given) as made:
            async with made.is_refused(REPLAYS, breach="replay", agent_id="alice"):
                heard = await made.send(recorded)
            assert is_problem(heard, 403, "replay_refused")


@pytest.mark.requirement("security.csrf")
class TestCsrf:
    """A page of another site makes the browser of somebody at this machine call."""

    async def test_a_page_opens_a_session_at_the_bridge_and_not_here(self, tmp_path: Path) -> None:
        page = {"Origin": PAGE, "Content-Type": "text/plain"}
        body = orjson.dumps(_session_of("bob"))
        async with fort(tmp_path, {"signatures.mode": "off", "identity.mode": "off"}) as made:
            port = made.bridge.client.port
            assert port is not None
            direct = await made.house.call("POST", "/session/create", raw=body, headers=page, port=port)
            assert direct.status == 200
            async with made.is_refused(_errors("host_refused"), error_code="host_refused"):
                heard = await made.house.call("POST", "/session/create", raw=body, headers=page)
            assert is_problem(heard, 403, "host_refused")
            honest = await made.house.call("POST", "/session/create", raw=body)
            assert honest.status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": PAGE},
            {"Origin": "null"},
            {"Host": "evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://127.0.0.1:1", "Content-Type": "text/plain"},
            {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"},
        ],
        ids=["other site", "opaque", "rebound name", "other site told", "plain text", "form"],
    )
    async def test_no_page_changes_a_flag_even_with_the_operators_token(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        given = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json", **headers}
        patch, admin = orjson.dumps({"elicitation_enabled": False}), "/feature_flags"
        async with fort(tmp_path) as made:
            port = made.house.bound.admin.port
            async with made.is_refused(_errors("host_refused"), error_code="host_refused"):
                heard = await made.house.call("POST", admin, raw=patch, headers=given, port=port)
            assert is_problem(heard, 403, "host_refused")
            assert (await made.house.admin("GET", admin)).json["elicitation_enabled"] is True
            assert "Access-Control-Allow-Origin" not in heard.headers
            assert (await made.house.admin("POST", admin, body={"elicitation_enabled": False})).status == 200

    async def test_looking_changes_nothing(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            before = (await made.house.admin("GET", "/feature_flags")).json
            for target in ("/shutdown", "/cache/clear", "/agent/force_elicitation"):
                assert is_problem(await made.house.admin("GET", target), 405, "method_not_allowed"), target
            assert (await made.house.admin("GET", "/feature_flags?elicitation_enabled=false")).json == before


@pytest.mark.requirement("security.privilege_escalation")
class TestPrivilegeEscalation:
    """Somebody does what only an operator may."""

    async def test_an_agent_turns_a_switch_at_the_bridge_and_none_here(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            await made.bridge.set(slow_ms=0)  # without any token
            headers = {"Authorization": f"Bearer {made.tokens['mallory']}"}
            async with made.is_refused(_errors("unauthenticated"), error_code="unauthenticated"):
                heard = await made.house.admin("POST", "/feature_flags", body={"elicitation_percentage": 0}, token="")
            assert is_problem(heard, 401, "unauthenticated")
            async with made.is_refused(_errors("unauthenticated"), error_code="unauthenticated"):
                heard = await made.house.call(
                    "POST", "/feature_flags", raw=b"{}", headers=headers, port=made.house.bound.admin.port
                )
            assert is_problem(heard, 401, "unauthenticated")

    @pytest.mark.parametrize(
        "headers",
        [{}, {"X-Forwarded-For": "127.0.0.1"}, {"X-HTTP-Method-Override": "GET"}, {"X-Author": "the operator"}],
        ids=["plain", "forwarded", "overridden", "another author"],
    )
    async def test_a_viewer_changes_nothing(self, tmp_path: Path, headers: dict[str, str]) -> None:
        given = {"Authorization": f"Bearer {VIEWER}", "Content-Type": "application/json", **headers}
        patch = orjson.dumps({"elicitation_enabled": False})
        async with fort(tmp_path) as made:
            port = made.house.bound.admin.port
            assert (await made.house.admin("GET", "/feature_flags", token=VIEWER)).status == 200
            async with made.is_refused(_errors("forbidden"), error_code="forbidden"):
                heard = await made.house.call("POST", "/feature_flags", raw=patch, headers=given, port=port)
            assert is_problem(heard, 403, "forbidden")
            assert (await made.house.admin("GET", "/feature_flags")).json["elicitation_enabled"] is True

    async def test_the_doors_of_the_operator_are_not_on_the_port_of_the_agents(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("mallory", "POST", "/feature_flags", {"elicitation_enabled": False})
            heard = await made.send(call.with_headers(Authorization=f"Bearer {OPERATOR}"))
            assert heard.status == 404, "the Bridge knows no such path"
            assert (await made.house.admin("GET", "/feature_flags")).json["elicitation_enabled"] is True


async def _ask_until_refused(made: Fort, agent: str = "mallory", most: int = 50) -> int:
    """How many questions of one agent are let through."""
    for count in range(most):
        heard = await made.call(agent, "POST", CREATE, question_of(agent))
        if heard.status == 429:
            assert is_problem(heard, 429, "rate_limited")
            assert int(heard.headers["Retry-After"]) > 0
            return count
        assert heard.status == 200, heard
    return most


@pytest.mark.requirement("security.rate_limit_bypass")
class TestRateLimitBypass:
    """Mallory asks more often than she may."""

    REFUSED = 'rate_limit_decisions_total{decision="refused",limit="questions"}'

    async def test_other_names_are_other_allowances_at_the_bridge_and_impersonation_here(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            for number in range(30):
                assert (await made.bridge.ask(made.tokens["mallory"], from_agent=f"mallory-{number % 3}"))[0] == 200
            assert await _ask_until_refused(made) == 13
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", claimed="mallory-1"):
                heard = await made.call("mallory", "POST", CREATE, question_of("mallory-1"))
            assert is_problem(heard, 403, "impersonation")

    @pytest.mark.parametrize(
        "target", ["/elicitation/create/", "//elicitation/create", "/x/../elicitation/create", "/Elicitation/%63reate"]
    )
    async def test_no_spelling_of_the_path_has_an_allowance_of_its_own(self, tmp_path: Path, target: str) -> None:
        async with fort(tmp_path) as made:
            assert await _ask_until_refused(made) == 13
            async with made.is_refused(self.REFUSED, breach="limit", rule="questions", agent_id="mallory"):
                heard = await made.call("mallory", "POST", target, question_of("mallory"))
            assert is_problem(heard, 429, "rate_limited")

    async def test_neither_has_another_session_or_another_key(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            assert await _ask_until_refused(made) == 13
            made.tokens["mallory"] = await made.bridge.token("mallory")
            call = made.sign("mallory", "POST", CREATE, question_of("mallory")).with_headers(
                X_Forwarded_For="192.0.2.9"
            )
            async with made.is_refused(self.REFUSED, breach="limit", agent_id="mallory"):
                heard = await made.send(call)
            assert is_problem(heard, 429, "rate_limited")

    async def test_who_asks_too_often_uses_up_nothing_of_others_and_may_ask_again_later(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            await made.bridge.set(rate_limits=False)
            assert await _ask_until_refused(made) == 13
            assert await _ask_until_refused(made, "alice") == 13
            made.stand.clock.advance(6)
            assert await _ask_until_refused(made) == 1

    async def test_of_fifty_at_once_the_allowance_passes_and_no_more(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            passed = [(await made.call("mallory", "POST", CREATE, question_of("mallory"))).status for _ in range(50)]
            assert passed == [200] * 13 + [429] * 37
            assert made.bridge.state.arrived[f"POST {CREATE}"] == 13


@pytest.mark.requirement("security.nonce_reuse")
class TestNonceReuse:
    """A nonce is used for another call than its own; the Bridge knows none."""

    NONCE = "a-nonce-that-is-used-twice"

    async def test_a_nonce_counts_once_for_a_key_whatever_it_signs(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            first = made.sign("mallory", "POST", STORE, _event_of("mallory"), nonce=self.NONCE)
            again = made.sign("mallory", "POST", CREATE, question_of("mallory"), nonce=self.NONCE)
            assert (await made.send(first)).status == 200
            async with made.is_refused(REPLAYS, breach="replay", rule="replayed", agent_id="mallory"):
                heard = await made.send(again)
            assert is_problem(heard, 403, "replay_refused")

    async def test_nobody_uses_up_the_nonces_of_others(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            for agent in ("mallory", "alice"):
                call = made.sign(agent, "POST", STORE, _event_of(agent), nonce=self.NONCE)
                assert (await made.send(call)).status == 200, agent

    async def test_a_call_that_is_refused_for_its_signature_uses_up_no_nonce(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            attack = made.sign("alice", "POST", STORE, _event_of("alice"), nonce=self.NONCE, key=forged("alice"))
            async with made.is_refused(_failures(Refusal.BAD_SIGNATURE), breach="signature"):
                assert is_problem(await made.send(attack), 401, "signature_refused")
            call = made.sign("alice", "POST", STORE, _event_of("alice"), nonce=self.NONCE)
            assert (await made.send(call)).status == 200


@pytest.mark.requirement("security.hmac_forgery")
class TestHmacForgery:
    """Mallory, who has a key of her own, makes signatures for alice."""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"Signature": "sig1=:" + "A" * 43 + "=:"}, Refusal.BAD_SIGNATURE),
            ({"Signature": "sig1=::"}, Refusal.MALFORMED),
            ({"Signature-Input": ""}, Refusal.MALFORMED),
            ({"X-Agent-Id": "bob"}, Refusal.BAD_SIGNATURE),
            ({"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}, Refusal.BAD_SIGNATURE),
        ],
        ids=["guessed", "empty", "nothing said", "other agent", "other digest"],
    )
    async def test_what_is_changed_on_the_way_counts_for_nothing(
        self, tmp_path: Path, changes: dict[str, str], reason: Refusal
    ) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("alice", "POST", STORE, _event_of("alice"))
            changed = call.with_headers(**{name.replace("-", "_"): value for name, value in changes.items()})
            async with made.is_refused(_failures(reason), breach="signature", rule=reason.value):
                assert is_problem(await made.send(changed), 401, "signature_refused")
            assert (await made.send(call)).status == 200

    async def test_a_key_of_ones_own_signs_for_nobody_else(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            body = _event_of("alice")
            for key in (forged("alice"), replace(key_of("mallory"), agent_id=AgentId("alice"))):
                reason = Refusal.BAD_SIGNATURE if key.key_id == key_of("alice").key_id else Refusal.AGENT_MISMATCH
                call = made.sign("alice", "POST", STORE, body, key=key)
                async with made.is_refused(_failures(reason), breach="signature", rule=reason.value):
                    assert is_problem(await made.send(call), 401, "signature_refused")

    async def test_another_body_under_the_same_signature_never_goes_up(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("alice", "POST", CREATE, question_of("alice"))
            other = replace(call, body=orjson.dumps(question_of("alice", to_agent="mallory")))
            reason = Refusal.DIGEST_MISMATCH
            async with made.is_refused(_failures(reason), breach="signature", rule=reason.value, agent_id="alice"):
                assert is_problem(await made.send(other), 401, "body_not_signed")
            assert (await made.send(call)).status == 200
