"""What the MCP soak reads of its sidecars and tells them, and who takes part in it."""

import tomllib

import pytest

from bench.http_client import Address, BadReplyError
from bench.mcp_soak_house import Counts, admin_in, config_text, read_counts
from bench.mcp_soak_load import McpPlan, is_asked, is_patient

PLAN = McpPlan(seconds=60, clients=8, pipes=2, waits=4, wait_s=1, rate=1, visits=1, seed=1)


def test_counts_are_read_from_the_exposition() -> None:
    said = b"# HELP x y\nelicit_sidecar_parked_waits 12.0\nelicit_sidecar_defects_total 1.0\n"
    assert read_counts(said) == Counts(parked=12, defects=1)
    assert read_counts(b"elicit_sidecar_parked_waits 0.0\n") == Counts(parked=0, defects=0)
    with pytest.raises(BadReplyError):
        read_counts(b"nothing 1\n")


def test_the_admin_port_is_known_once_its_line_is_whole() -> None:
    line = '{"server":7,"admin":"127.0.0.1:4711","event":"ready","level":"info"}'
    assert admin_in("no --config: assuming the Bridge\n") is None
    assert admin_in(f"something else\n{line}") is None
    assert admin_in(f"something else\n{line}\n") == Address("127.0.0.1", 4711)


def test_the_configuration_names_those_whose_clients_are_asked() -> None:
    read = tomllib.loads(config_text("http://127.0.0.1:1", ["handshake_asked-0", "pipe0_asked-1"]))
    assert read["bridge"]["mcp_url"] == "http://127.0.0.1:1"
    assert [read["groups"][name] for name in read["agent"]["elicit_agents"]] == [["handshake_asked-0", "pipe0_asked-1"]]


def test_half_of_the_agents_of_each_door_and_era_are_asked_and_every_name_is_used_once() -> None:
    names = PLAN.http_names()
    assert len(names) == 8
    assert sorted(name for name in names if is_asked(name)) == [
        "envelope_asked-0",
        "envelope_asked-1",
        "handshake_asked-0",
        "handshake_asked-1",
    ]
    assert PLAN.pipe_names(1) == ["pipe1_told-0", "pipe1_asked-0", "pipe1_told-1", "pipe1_asked-1"]
    assert len(set(PLAN.names())) == len(PLAN.names())


def test_the_first_agent_of_each_kind_waits_long() -> None:
    assert [name for name in PLAN.pipe_names(0) if is_patient(name)] == ["pipe0_told-0", "pipe0_asked-0"]
