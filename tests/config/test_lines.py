import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.lines import index_lines, line_of

DOCUMENT = '''\
# a comment with [brackets] = "and more"
top.first = 1
"quoted = [key]".x = 2

[flags]   # [not.a.table]
salt = """
elicitation_enabled = true
[bridge]
""""
whitelist = [  # "
  "a]", 'b[',
  [ 1, 2 ],

]
last = 'it # is'  # = 1
deep.er.still = { a = 1, b = "}" }
\t indented = '\'\'
x = 1
\'\'\''
[ "gro.ups" . 'x=y' ]
z = 1
[[many]]
one = 1
[[many]]
one = 2
[end]'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("top", "first"), 2),
        (("quoted = [key]", "x"), 3),
        (("flags",), 5),
        (("flags", "salt"), 6),
        (("flags", "whitelist"), 10),
        (("flags", "last"), 15),
        (("flags", "deep"), 16),
        (("flags", "indented"), 17),
        (("gro.ups",), 20),
        (("gro.ups", "x=y"), 20),
        (("many",), 22),
        (("many", "one"), 23),
        (("end",), 26),
    ],
)
def test_each_key_is_found_on_its_line(path: tuple[str, ...], line: int) -> None:
    tomllib.loads(DOCUMENT)
    assert index_lines(DOCUMENT)[path] == line


def test_text_inside_values_is_taken_for_no_key() -> None:
    lines = index_lines(DOCUMENT)
    assert ("flags", "elicitation_enabled") not in lines
    assert ("bridge",) not in lines
    assert ("not",) not in lines


def test_a_key_of_an_inline_table_has_the_line_of_the_table() -> None:
    lines = index_lines("a = 1\nflags = { salt = 'x' }\n")
    assert line_of(lines, "flags", "salt") == 2


def test_an_unknown_key_has_line_0() -> None:
    assert line_of(index_lines("a = 1"), "b", "c") == 0


def test_windows_line_ends_count_once() -> None:
    lines = index_lines('[a]\r\nb = "x"\r\n\r\nc = 1\r\n')
    assert (lines["a",], lines["a", "b"], lines["a", "c"]) == (1, 2, 4)


FRAGMENTS = st.sampled_from(
    [
        "[a]\n",
        "[b.c]\n",
        '["d.e"]\r\n',
        "[[f]]\n",
        "x = 1\n",
        "y.z = [\n1, # ]\n2]\n",
        "'q=' = {r = 1, s = ']'}\n",
        't = """\n[no]\n\\""" """\n',
        "u = '''\n'no = 1'\n'''\n",
        "# v = 1\n",
        "\n",
        '  w\t= "\\\\"\n',
        "k = 1979-05-27T07:32:00Z\n",
    ]
)


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_every_key_the_parser_knows_has_a_line_that_holds_it(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines, rows = index_lines(text), text.split("\n")
    for section, content in document.items():
        assert section in rows[lines[section,] - 1]
        for name in content if isinstance(content, dict) else ():
            assert name in rows[line_of(lines, section, name) - 1]
    assert {path[0] for path in lines} == set(document)
