"""What the generator of requests to the admin port must not do: loaded by name through SCHEMATHESIS_HOOKS.

Its Unicode is another one than Python's, so that it takes some code points for letters that nobody has assigned here.
"""

import unicodedata

import schemathesis


def _is_assigned(value: object) -> bool:
    match value:
        case str():
            return all(unicodedata.category(char) != "Cn" for char in value)
        case dict():
            return all(_is_assigned(part) for item in value.items() for part in item)
        case list():
            return all(map(_is_assigned, value))
        case _:
            return True


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:  # type: ignore[type-arg]  # of whatever operation
    """Whether every text of a request is one that both read the same way."""
    return all(map(_is_assigned, (case.path_parameters, dict(case.headers or {}), case.query, case.body)))
