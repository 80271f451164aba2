"""What a report says, before it is put into any form: sections of paragraphs, lists and tables of plain text.

Nothing in here is escaped; whoever puts it into a form escapes all of it for that form.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; each row has as many cells as the head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Paragraph | Items | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    sections: Sequence[Section]
