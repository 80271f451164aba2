"""The forms of a report."""

import pytest

from proxy.reports.document import Document
from proxy.reports.forms import Form, write


@pytest.mark.parametrize(
    ("form", "text", "kind"),
    [
        (Form.MARKDOWN, "# Title\n", "text/markdown"),
        (Form.HTML, "<!doctype html>", "text/html"),
        (Form.JSON, '{"a":"\\u001b"}\n', "application/json"),
    ],
)
def test_each_form_has_its_words_and_its_media_type(form: Form, text: str, kind: str) -> None:
    assert write(Document("Title", []), {"a": "\x1b"}, form).startswith(text)
    assert form.media_type == kind
