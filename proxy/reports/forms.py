"""The forms in which a report is handed out."""

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from proxy.core.printable import printable_json
from proxy.reports.document import Document
from proxy.reports.render import to_html, to_markdown


class Form(StrEnum):
    """One form."""

    MARKDOWN = "md"
    HTML = "html"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """As which it is sent. Source: RFC 7763 for Markdown."""
        match self:
            case Form.MARKDOWN:
                return "text/markdown"
            case Form.HTML:
                return "text/html"
            case Form.JSON:
                return "application/json"
            case _ as never:
                assert_never(never)


def write(document: Document, plain: Mapping[str, object], form: Form) -> str:
    """A report in one form; its text holds no control character but line ends of ours."""
    match form:
        case Form.MARKDOWN:
            return to_markdown(document)
        case Form.HTML:
            return to_html(document)
        case Form.JSON:
            return printable_json(plain) + "\n"
        case _ as never:
            assert_never(never)
