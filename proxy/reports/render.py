"""Puts a document into Markdown or HTML, so that no text in it can become anything but text.

Every text is made printable first: no control character, no mark that changes the direction, no line end comes
through, so a terminal shows either form as it is. What has a meaning in Markdown or HTML is escaped after that.

Source: CommonMark 0.31.2 section 2.4 (backslash escapes), GitHub Flavored Markdown 4.10 and 6.9 (tables, autolinks);
WHATWG HTML 13.1.2.4 (text in attributes and elements).
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from typing import Final, assert_never

from proxy.core.printable import printable
from proxy.reports.document import Block, Document, Items, Paragraph, Section, Table

STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse;"
    "width:100%;font-size:.9rem}th,td{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}th{background:#f2f2f2}"
)
"""The one style sheet, in the page itself: nothing is fetched."""

CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Under which such a page shows itself as it is, and runs nothing. Source: W3C CSP3 section 2.3.1 (hash-source)."""

_MEANS: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!$^@])")
_LINKS: Final = re.compile(r"(?i)(www)(\.)|(:)(?=//)|(mailto|xmpp)(:)")
_BEGINS: Final = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")


def to_markdown(document: Document) -> str:
    """The document as Markdown with tables."""
    parts = [f"# {_marked(document.title)}"]
    for section in document.sections:
        parts.append(f"## {_marked(section.title)}")
        parts += map(_block, section.blocks)
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _marked(text)
        case Items(texts):
            return "\n".join(f"- {_marked(text)}" for text in texts)
        case Table(head, rows):
            return "\n".join([_row(head), _row(["---"] * len(head), is_rule=True), *map(_row, rows)])
        case _ as never:
            assert_never(never)


def _row(cells: Sequence[str], *, is_rule: bool = False) -> str:
    return f"| {' | '.join(cell if is_rule else _marked(cell) for cell in cells)} |"


def _marked(text: str) -> str:
    """Text of one line in which nothing has a meaning: no mark-up, no link, no list, no table."""
    escaped = _MEANS.sub(r"\\\1", printable(text).strip())
    escaped = _LINKS.sub(_unlinked, escaped)
    return _BEGINS.sub(_begun, escaped)


def _unlinked(match: re.Match[str]) -> str:
    return "".join(rf"\{part}" if part in {".", ":"} else part for part in match.groups() if part)


def _begun(match: re.Match[str]) -> str:
    return f"&#{ord(match[1][0])};{match[1][1:]}"


def to_html(document: Document) -> str:
    """The document as one page that fetches nothing and runs nothing."""
    title = _text(document.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        + "".join(part for section in document.sections for part in _section(section))
        + "</body>\n</html>\n"
    )


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{_text(section.title)}</h2>\n"
    for block in section.blocks:
        match block:
            case Paragraph(text):
                yield f"<p>{_text(text)}</p>\n"
            case Items(texts):
                yield f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>\n"
            case Table(head, rows):
                yield f"<table>\n<thead>{_cells(head, 'th')}</thead>\n<tbody>\n"
                yield from (f"{_cells(row, 'td')}\n" for row in rows)
                yield "</tbody>\n</table>\n"
            case _ as never:
                assert_never(never)


def _cells(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
