"""The Bridge's words on the wire: refusals as `{"detail": ...}` and the complaints of its input checks.

The real Bridge checks input with pydantic; its complaints are lists of items with type, loc, msg and input.
Pure: nothing here knows a socket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

MAX_WHOLE: Final = 2**63 - 1
"""Largest number we can write back. Source: ours; orjson writes 64-bit integers."""


class WireError(Exception):
    """An answer of the Bridge other than 200: its status and the value of `detail`."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def wrapped(status: int, text: str) -> WireError:
    """The refusal as most endpoints send it: always 500, with the meant status in front of the text.

    Source: BRIDGE.md 2.4, wrapped errors.
    """
    return WireError(500, f"{status}: {text}")


def parse_json(body: bytes) -> object:
    """Read a request body; an empty one is None.

    Raises:
        WireError: 422 json_invalid, naming the byte where reading ended.
    """
    if not body:
        return None
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        item = _item("json_invalid", ["body", error.pos], "JSON decode error", {})
        raise WireError(422, [item | {"ctx": {"error": error.msg}}]) from error
    return value


def object_of(body: object, *, loose: bool = False) -> dict[str, object]:
    """The JSON object a body must be; `loose` endpoints take any object and complain with other words.

    Raises:
        WireError: 422 missing, dict_type or model_attributes_type.
    """
    if body is None:
        raise WireError(422, [_item("missing", ["body"], "Field required", None)])
    if isinstance(body, dict):
        return body
    if loose:
        raise WireError(422, [_item("dict_type", ["body"], "Input should be a valid dictionary", body)])
    text = "Input should be a valid dictionary or object to extract fields from"
    raise WireError(422, [_item("model_attributes_type", ["body"], text, body)])


@dataclass(slots=True)
class Fields:
    """Reads the fields of one body or query, collects every complaint, and raises them together."""

    where: Literal["body", "query"]
    given: Mapping[str, object]
    complaints: list[dict[str, object]] = field(default_factory=list)

    def text(self, name: str) -> str:
        """A field that must be there and be text."""
        if name not in self.given:
            # FastAPI shows the whole body for a missing field, and null for a missing parameter.
            shown = dict(self.given) if self.where == "body" else None
            self._complain("missing", name, "Field required", shown)
            return ""
        return self.text_or(name, "")

    def text_or(self, name: str, default: str) -> str:
        """A field that is text when it is there."""
        value = self.given.get(name, default)
        if isinstance(value, str):
            return value
        self._complain("string_type", name, "Input should be a valid string", value)
        return default

    def mapping(self, name: str) -> dict[str, object]:
        """A field that must be there and be an object."""
        if name in self.given:
            return self.mapping_or(name) or {}
        self._complain("missing", name, "Field required", dict(self.given))
        return {}

    def mapping_or(self, name: str, *, nullable: bool = False) -> dict[str, object] | None:
        """A field that is an object when it is there; null counts as absent where `nullable`."""
        value = self.given.get(name)
        if isinstance(value, dict):
            return value
        if name in self.given and not (nullable and value is None):
            self._complain("dict_type", name, "Input should be a valid dictionary", value)
        return None

    def texts(self, name: str) -> list[str]:
        """A field that must be there and be a list of texts."""
        value = self.given.get(name)
        if isinstance(value, list):
            return [item for item in value if isinstance(item, str)]
        if name in self.given:
            self._complain("list_type", name, "Input should be a valid list", value)
        else:
            self._complain("missing", name, "Field required", dict(self.given))
        return []

    def whole(self, name: str, default: int) -> int:
        """A field that is a whole number, or text that says one, when it is there."""
        value = self.given.get(name, default)
        if isinstance(value, str):
            return self._parse_whole(name, value, default)
        if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_WHOLE:
            return int(value)
        if isinstance(value, int):
            return int(value)
        self._complain("int_type", name, "Input should be a valid integer", value)
        return default

    def done(self) -> None:
        """End of reading.

        Raises:
            WireError: 422 with every complaint.
        """
        if self.complaints:
            raise WireError(422, self.complaints)

    def _parse_whole(self, name: str, value: str, default: int) -> int:
        try:
            number = int(value)
        except ValueError:
            text = "Input should be a valid integer, unable to parse string as an integer"
            self._complain("int_parsing", name, text, value)
            return default
        if abs(number) > MAX_WHOLE:
            text = "Unable to parse input string as an integer, exceeded maximum size"
            self._complain("int_parsing_size", name, text, value)
            return default
        return number

    def _complain(self, kind: str, name: str, text: str, shown: object) -> None:
        self.complaints.append(_item(kind, [self.where, name], text, shown))


def _item(kind: str, loc: list[object], text: str, shown: object) -> dict[str, object]:
    return {"type": kind, "loc": loc, "msg": text, "input": shown}
