"""The texts below the fields of a class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any


def field_texts(owner: type[Any]) -> dict[str, str]:
    """The string below each annotated field of ``owner`` and of what it inherits from, on one line each."""
    texts: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base is object or base.__module__.partition(".")[0] in ("pydantic", "pydantic_settings", "builtins"):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    texts[name] = " ".join(meaning.split())
    return texts
