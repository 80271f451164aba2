"""A defect in one function of the product, as long as a test lasts: proof that another test would notice it."""

import inspect
import sys
import textwrap
from collections.abc import Callable
from types import FunctionType

import pytest


def plant(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, instead_of: str, stands: str) -> None:
    """Put other words into a method, in place of words that occur in it once."""
    method = inspect.getattr_static(owner, name)
    assert isinstance(method, FunctionType), f"{owner.__name__}.{name} is no plain method any more"
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(instead_of) == 1, f"{owner.__name__}.{name} does not say `{instead_of}` once any more"
    made: dict[str, Callable[..., object]] = {}
    code = compile(source.replace(instead_of, stands), f"<planted in {name}>", "exec")
    exec(code, vars(sys.modules[owner.__module__]), made)  # noqa: S102  # our own source with our own change
    monkeypatch.setattr(owner, name, made[name])
