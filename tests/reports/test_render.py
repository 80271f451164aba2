"""What a report says stays text in every form, whoever wrote it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from proxy.core.printable import printable
from proxy.reports.document import Document, Items, Paragraph, Section, Table
from proxy.reports.render import CONTENT_SECURITY_POLICY, STYLE, to_html, to_markdown

pytestmark = pytest.mark.requirement("report.escaped")

HOSTILE = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "a | b || c",
    "`code` ``x``",
    "**bold** _it_ ~~gone~~",
    "# title",
    "- item",
    "1. item",
    "1) item",
    "+ item",
    "===",
    "---",
    "> quote",
    "&lt;b&gt; &#60;",
    "https://evil.example www.evil.example mailto:x@evil.example",
    "\x1b[31mred\x1b[0m\x07\r\nnext",
    "\u202egnp.exe \u200b \u2028 \x85 \x9b31m",
    "\ud800",
    '" onmouseover="x',
    "    indented",
    "```",
    "~~~",
    "$x$",
    "[^1]: note",
    "\\",
    "\\<b>",
    "<!-- x",
    "    ",
    "",
)
TEXTS = st.one_of(st.text(), st.text("<>[]()`*_#|~&!\\-+=.:/@ \n\t0123456789abw"), st.sampled_from(HOSTILE))


def _document(text: str) -> Document:
    return Document(
        text, [Section(text, [Paragraph(text), Items([text, text]), Table((text, "b"), [(text, "c"), ("d", text)])])]
    )


ALLOWED = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "bullet_list_open"),
    *("bullet_list_close", "list_item_open", "list_item_close", "table_open", "table_close", "thead_open"),
    *("thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
}


@given(TEXTS)
@example("")
@example("===")
def test_no_text_becomes_mark_up_in_markdown(text: str) -> None:
    made = to_markdown(_document(text))
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(made)
    assert {token.type for token in tokens} <= ALLOWED
    inner = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inner} <= {"text", "text_special"}
    shown = " ".join(printable(text).split())
    told = [
        " ".join("".join(child.content for child in token.children or ()).split()) for token in tokens if token.children
    ]
    cells = sum(token.type in {"th_open", "td_open"} for token in tokens)
    assert cells == 6, "no cell more and none less"
    assert told.count(shown) >= (7 if shown else 0)


@given(TEXTS)
def test_no_text_becomes_a_control_character_or_a_line_of_its_own(text: str) -> None:
    for made in (to_markdown(_document(text)), to_html(_document(text))):
        assert all(char == "\n" or char.isprintable() for char in made)
        assert made.count("\n") == (
            to_html(_document("x")) if made.startswith("<!") else to_markdown(_document("x"))
        ).count("\n")
        made.encode()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[tuple[str, str | None]] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= set(attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _tags(page: str) -> _Tags:
    parser = _Tags()
    parser.feed(page)
    parser.close()
    return parser


@given(TEXTS)
def test_no_text_becomes_mark_up_in_html(text: str) -> None:
    found, plain = _tags(to_html(_document(text))), _tags(to_html(_document("x")))
    assert found.tags == plain.tags
    assert found.attributes == plain.attributes
    assert "".join(found.text).count(printable(text)) >= 9


def test_links_are_no_links_where_bare_addresses_are() -> None:
    made = to_markdown(_document("see https://evil.example, WWW.evil.example and mailto:x@evil.example"))
    assert not re.search(r"https?://|(?i:www)\.|mailto:|[^\\]@", made)


def test_a_page_fetches_nothing_and_its_style_is_the_one_that_is_allowed() -> None:
    page = to_html(_document("x"))
    assert not re.search(r"\b(src|href|url|import|script)\b", page)
    (style,) = re.findall(r"<style>(.*)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert style == STYLE
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_markdown_reads_well_where_nothing_has_to_be_escaped() -> None:
    document = Document(
        "Report", [Section("Part", [Items(["one", "127.0.0.1:8766"]), Table(("a", "b"), [("1", "2")])])]
    )
    assert to_markdown(document) == (
        "# Report\n\n## Part\n\n- one\n- 127.0.0.1:8766\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    )
