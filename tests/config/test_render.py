import tomllib
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import Loaded, load_config
from proxy.config.render import to_plain, to_toml
from proxy.config.schema import Config, LegacyConfig

PRINTABLE = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=20)


def test_the_defaults_are_shown_as_operators_write_them() -> None:
    plain = to_plain(Config())
    listen = plain["listen"]
    assert (listen["data"], listen["admin"], listen["allowed_hosts"]) == ("127.0.0.1:8766", "127.0.0.1:8767", [])
    assert plain["limits"] == {"questions": "10/min+3", "answers": "20/min+3", "waits": "", "calls": "", "bytes": ""}
    assert plain["flags"]["elicitation_percentage"] == 0.0
    assert plain["groups"] == {}


def test_each_line_tells_where_its_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[log]\nlevel = "debug"\n[groups]\n"eu west" = ["a"]\n', "utf-8")
    env = {"ELICIT_SIDECAR_BRIDGE_URL": "http://bridge.example"}
    lines = to_toml(load_config(file, env=env, overrides={"flags.legacy_support": "false"})).splitlines()
    assert 'level = "debug"  # file:2' in lines
    assert 'format = "auto"  # default' in lines
    assert 'url = "http://bridge.example"  # environment ELICIT_SIDECAR_BRIDGE_URL' in lines
    assert "legacy_support = false  # command line" in lines
    assert '"eu west" = ["a"]  # file:4' in lines


def test_a_password_that_came_in_by_another_way_is_still_not_shown() -> None:
    config = msgspec.structs.replace(Config(), legacy=LegacyConfig(guide_url="https://me:geheim@x.example/"))
    origins = load_config(None, env={}, overrides={}).origins
    assert to_plain(config)["legacy"]["guide_url"] == "https://***@x.example/"
    assert "geheim" not in to_toml(Loaded(config=config, origins=origins))


@given(st.dictionaries(PRINTABLE, st.lists(PRINTABLE, max_size=3), max_size=3), PRINTABLE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_shown_can_be_loaded_again(tmp_path: Path, groups: dict[str, list[str]], salt: str) -> None:
    plain = to_plain(Config())
    config = msgspec.structs.replace(
        Config(),
        groups={name: tuple(members) for name, members in groups.items()},
        flags=msgspec.structs.replace(Config().flags, salt=salt),
    )
    origins = {f"{table}.{name}": "default" for table, values in plain.items() for name in values}
    origins |= {f"groups.{name}": "default" for name in groups}
    text = to_toml(Loaded(config=config, origins=origins))
    assert tomllib.loads(text)["flags"]["salt"] == salt
    file = tmp_path / "c.toml"
    file.write_text(text, "utf-8", newline="")
    assert load_config(file, env={}, overrides={}).config == config
