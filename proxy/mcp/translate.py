"""A requested schema in the words of a revision, and the answer to it turned back.

What a revision cannot say is said with what it has: titles in `enumNames`, an array of choices as one boolean for
each option. A schema that is no form at all becomes one text field that takes JSON.
Nothing is checked against the schema here; the content that comes out is what the asker's own schema is about.

Source: PROTOCOL.md 1.3, "Translating schemas between revisions".
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec
import orjson

from proxy.core.form_fields import Choices
from proxy.core.forms import FormField, compile_form
from proxy.core.mismatch import Mismatch, describe, missing, place
from proxy.mcp.revisions import Revision

JSON_FIELD: Final = "response_json"
"""Name of the field that takes JSON. Source: PROTOCOL.md 1.3."""

MAX_SCHEMA_CHARS: Final = 4_000
"""How much of a schema the description of that field shows. Source: ours; a screen or two of text."""

MAX_JSON_BYTES: Final = 262_144
"""Longest text read from that field. Source: ours; the bound of every answer's content in core/schemas.py."""

MAX_SWITCHES: Final = 64
"""Most booleans that arrays of choices become in one form. Source: ours; beyond it nobody can fill the form in."""


class _Option(msgspec.Struct, frozen=True):
    const: str
    title: str


class _Items(msgspec.Struct, frozen=True):
    any_of: list[_Option] = msgspec.field(name="anyOf", default_factory=list)


class _Described(msgspec.Struct, frozen=True):
    """What is read of a property; `compile_form` has checked the rest."""

    type: str
    title: str = ""
    description: str = ""
    default: object = None
    one_of: list[_Option] = msgspec.field(name="oneOf", default_factory=list)
    items: _Items = _Items()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """An array of choices, asked for by one boolean for each option."""

    name: str
    options: Mapping[str, str]
    """Option by the name of its boolean."""
    may_be_left_out: bool
    """The property is optional; an array without an item is then left out where it would be too short."""
    min_items: int

    def gather(self, given: Mapping[str, object]) -> list[str] | Mismatch | None:
        """The array that these booleans mean; None where the property is left out."""
        for name in self.options:
            if not isinstance(given.get(name, False), bool):
                return Mismatch(place("$", name), "true or false", describe(given[name]))
        chosen = [option for name, option in self.options.items() if given.get(name)]
        is_touched = any(name in given for name in self.options)
        if self.may_be_left_out and not chosen and (self.min_items > 0 or not is_touched):
            return None
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedSchema:
    """A schema to send, and the way back from what is answered to it."""

    schema: Mapping[str, object]
    """Always an object with `type` and `properties`, flat."""
    switches: tuple[Switches, ...] = ()
    takes_json: bool = False
    """The whole answer is JSON in the one field `response_json`."""

    def content_of(self, given: Mapping[str, object]) -> Mapping[str, object] | Mismatch:
        """What an accepted answer says in terms of the schema that was asked with.

        Null is left out: no field of a form may be null, and some clients send it for a field left empty.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if self.takes_json:
            return _unwrap(given)
        names = {name for group in self.switches for name in group.options}
        content = {name: value for name, value in given.items() if name not in names}
        for group in self.switches:
            chosen = group.gather(given)
            if isinstance(chosen, Mismatch):
                return chosen
            if chosen is not None and group.name not in content:
                content[group.name] = chosen
        return content


def _unwrap(given: Mapping[str, object]) -> Mapping[str, object] | Mismatch:
    path, text = place("$", JSON_FIELD), given.get(JSON_FIELD)
    if text is None:
        return missing(path)
    if not isinstance(text, str) or len(text) > MAX_JSON_BYTES:
        return Mismatch(path, f"JSON as text of at most {MAX_JSON_BYTES} characters", describe(text))
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Mismatch(path, "a JSON object as text", describe(text))
    return value if isinstance(value, dict) else Mismatch(path, "a JSON object as text", describe(value))


def translate(schema: Mapping[str, object], revision: Revision) -> WordedSchema:
    """Put a schema into the words of a revision that has forms.

    Raises:
        SchemaRefused: the schema is beyond the bounds of core/forms.py.
    """
    form = compile_form(schema)
    properties = schema.get("properties")
    # Without properties it asks for any object, and an empty form could only be answered with nothing.
    if form is None or form.unlisted or not isinstance(properties, dict):
        return _as_json_field(schema)
    fields = form.fields
    count = sum(_switch_count(field) for field in fields)
    if not revision.has_multi_select and count > MAX_SWITCHES:
        return _as_json_field(schema)
    worded: dict[str, object] = {}
    groups: list[Switches] = []
    for field in fields:
        if isinstance(field.rule, Choices) and not revision.has_multi_select:
            group = _switches(field, field.rule, properties.keys() | worded.keys())
            groups.append(group)
            worded.update(_switch_fields(group, field.rule, properties[field.name]))
        else:
            worded[field.name] = _word_field(properties[field.name], revision)
    required = [field.name for field in fields if field.is_required and field.name in worded]
    return WordedSchema(schema=_top(schema, worded, required, revision), switches=tuple(groups))


def _top(
    schema: Mapping[str, object], properties: Mapping[str, object], required: list[str], revision: Revision
) -> Mapping[str, object]:
    kept = {"$schema", "title"} if revision.has_schema_dialect else {"title"}
    top = {key: value for key, value in schema.items() if key in kept}
    rest = {"required": required} if required else {}
    return {**top, "type": "object", "properties": properties, **rest}


def _word_field(described: Mapping[str, object], revision: Revision) -> Mapping[str, object]:
    known = msgspec.convert(described, _Described)
    keeps_default = revision.has_all_defaults or known.type == "boolean"
    worded = {key: value for key, value in described.items() if key != "default" or keeps_default}
    if known.one_of and not revision.has_titled_enums:
        del worded["oneOf"]
        worded["enum"] = [option.const for option in known.one_of]
        worded["enumNames"] = [option.title for option in known.one_of]
    return worded


def _switch_count(field: FormField) -> int:
    return len(field.rule.choice.options) if isinstance(field.rule, Choices) else 0


def _switches(field: FormField, rule: Choices, taken: AbstractSet[str]) -> Switches:
    options: dict[str, str] = {}
    for option in rule.choice.options:
        name = f"{field.name}__{option}"
        while name in taken or name in options:
            name += "_"
        options[name] = option
    return Switches(
        name=field.name,
        options=MappingProxyType(options),
        may_be_left_out=not field.is_required,
        min_items=rule.min_items or 0,
    )


def _switch_fields(group: Switches, rule: Choices, described: object) -> dict[str, object]:
    known = msgspec.convert(described, _Described)
    titles = {option.const: option.title for option in known.items.any_of}
    chosen = known.default if isinstance(known.default, list) else None
    shared = " ".join(filter(None, (known.description, _how_many(rule))))
    fields: dict[str, object] = {}
    for name, option in group.options.items():
        words = {"type": "boolean", "title": f"{known.title or group.name}: {titles.get(option, option)}"}
        rest = {"description": shared} if shared else {}
        default = {} if chosen is None else {"default": option in chosen}
        fields[name] = {**words, **rest, **default}
    return fields


def _how_many(rule: Choices) -> str:
    least, most = rule.min_items or None, rule.max_items
    if least is None:
        return "" if most is None else f"Choose at most {most}."
    return f"Choose at least {least}." if most is None else f"Choose {least} to {most}."


def _as_json_field(schema: Mapping[str, object]) -> WordedSchema:
    text = orjson.dumps(schema).decode()
    shown = (
        text if len(text) <= MAX_SCHEMA_CHARS else f"{text[:MAX_SCHEMA_CHARS]}… (cut, {len(text)} characters in all)"
    )
    field = {
        "type": "string",
        "title": "Answer as JSON",
        "description": f"One JSON object as text. It has to match this JSON Schema: {shown}",
        "minLength": 2,
    }
    return WordedSchema(
        schema={"type": "object", "properties": {JSON_FIELD: field}, "required": [JSON_FIELD]},
        takes_json=True,
    )
