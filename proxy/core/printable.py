"""Make text of peers harmless to print: on a terminal, in a log line, in a report.

Whatever is not printable is escaped: the control characters C0 and C1 (line ends, escape sequences, the one-byte CSI),
DEL, marks that change the direction of what follows, zero-width and other format characters, line and paragraph
separators, lone surrogates and private use. What is left is letters, marks, numbers, punctuation, symbols and the plain
space, so that a text can neither move the cursor nor begin a line, and looks like what it is.

Source: Unicode 14 general categories (`str.isprintable`: Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs but the space);
ECMA-48 section 5.4 (control sequences); Unicode Technical Report 36 section 3.2 (bidirectional text).
"""

import json

import orjson


def printable(text: str) -> str:
    """The text with everything that is not printable escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, as a traceback: line feeds stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_json(value: object) -> str:
    """A value in one line of JSON in which everything that is not printable is escaped as in JSON.

    A value that JSON does not know is shown as Python shows it, and no value is ever refused: integers beyond 64 bits
    stay as they are, lone surrogates become question marks.
    """
    try:
        line = orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        line = json.dumps(value, default=repr, ensure_ascii=False).encode("utf-8", "replace").decode()
    # Outside of strings JSON is printable ASCII, so what is escaped stands inside of one.
    return line if line.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in line)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
