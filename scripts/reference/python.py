"""docs/reference/python.md: the public names of ``diffcdr``, ``diffcdr.client`` and ``training``, from docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_origin

import diffcdr
import diffcdr.client
import training
from scripts.reference.fields import field_texts
from scripts.reference.markdown import inline, prose, table

PAGE = """# Python

Made from docstrings by `make reference`; a test compares it. What is not listed here may change without notice.

"""
MODULES = (diffcdr, training, diffcdr.client)
WIDTH = 100


def page() -> str:
    """The whole page."""
    return PAGE + "\n".join("\n".join(_module(module)) for module in MODULES)


def _module(module: ModuleType) -> Iterator[str]:
    yield f"## {module.__name__}\n"
    yield f"{prose(module.__doc__ or '')}\n"
    for name in sorted(module.__all__, key=lambda name: (inspect.isclass(getattr(module, name)), name)):
        yield from _member(f"{module.__name__}.{name}", getattr(module, name))


def _member(path: str, member: Any) -> Iterator[str]:
    yield f"### {path}\n"
    if get_origin(member) is not None:
        yield f"`{_plain(str(member))}`\n"
        return
    if not inspect.isclass(member):
        yield f"```python\n{path.rpartition('.')[2]}{_signature(member)}\n```\n"
        yield f"{prose(inspect.getdoc(member) or '')}\n"
        return
    yield f"{prose(inspect.getdoc(member) or '')}\n"
    if texts := _fields(member):
        yield table(("field", "type", "meaning"), texts)
    yield from _members(member, constructor=not texts)


def _fields(owner: type[Any]) -> list[tuple[str, str, str]]:
    """Fields of a record; none where the class is called by its methods."""
    if not (hasattr(owner, "__dataclass_fields__") or hasattr(owner, "model_fields") or hasattr(owner, "_fields")):
        return []
    texts = field_texts(owner)
    kinds: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.partition(".")[0] in ("diffcdr", "training"):
            kinds |= inspect.get_annotations(base)
    return [
        (f"`{name}`", f"`{_plain(getattr(kind, '__forward_arg__', str(kind)))}`", inline(texts.get(name, "")))
        for name, kind in kinds.items()
        if not name.startswith("_") and "ClassVar" not in str(kind) and name != "model_config"
    ]


def _members(owner: type[Any], *, constructor: bool) -> Iterator[str]:
    """The ``constructor`` if asked for, and the methods and the properties that a class or a base of ours defines."""
    if issubclass(owner, Exception):
        return
    if constructor and "__init__" in vars(owner):
        yield f"```python\n{owner.__name__}{_signature(owner.__init__)}\n```\n"
        yield f"{prose(inspect.getdoc(owner.__init__) or '')}\n"
    names = [name for base in reversed(owner.__mro__) for name in vars(base) if _ours(base) and name[0] != "_"]
    for name in dict.fromkeys(names):
        member = inspect.getattr_static(owner, name)
        if isinstance(member, property):
            yield f"#### {owner.__name__}.{name}\n"
            yield f"{prose(inspect.getdoc(member) or '')}\n"
        elif inspect.isfunction(member):
            yield f"#### {owner.__name__}.{name}\n"
            yield f"```python\n{name}{_signature(member)}\n```\n"
            yield f"{prose(inspect.getdoc(member) or '')}\n"


def _ours(base: type[Any]) -> bool:
    return base.__module__.partition(".")[0] in ("diffcdr", "training")


def _signature(function: Any) -> str:
    """As it would be written, a parameter a line where one line is too long."""
    signature = inspect.signature(function)
    parts: list[str] = []
    starred = False
    for each in signature.parameters.values():
        starred |= each.kind is each.VAR_POSITIONAL
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            parts.append("*")
        if each.name != "self":
            parts.append(_plain(str(each)))
    returned = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = f"({', '.join(parts)}){returned}"
    if len(line) <= WIDTH:
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def _plain(text: str) -> str:
    """Without what inspecting leaves: quotes around annotations, modules of names, addresses of functions."""
    text = re.sub(r": '(.*?)'(?= = |$)", r": \1", text)
    text = re.sub(r"<function .*>", "...", text)
    return re.sub(r"\b(?:diffcdr|training|collections|typing|pathlib)(?:\.\w+)*\.(?=[A-Z])", "", text)
