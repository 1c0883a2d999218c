"""Docstrings and values as Markdown."""

from __future__ import annotations

from scripts.reference.markdown import prose, table


def test_a_docstring_becomes_markdown() -> None:
    written = prose(
        """Ask ``it``; as :meth:`~a.b.C.ask`.

        >>> ask()
        1

        Args:
            one, two: first
                and second.
            *rest: more.

        Raises:
            InputError: it cannot.
        """
    )
    assert written == (
        "Ask `it`; as `ask`.\n\n```pycon\n>>> ask()\n1\n```\n\n"
        "**Args:**\n\n- `one`, `two`: first and second.\n- `*rest`: more.\n\n**Raises:**\n\n- `InputError`: it cannot."
    )


def test_bars_in_a_table_stay_in_their_cell() -> None:
    assert table(("a", "b"), [("x | y", "z")]) == "| a | b |\n|---|---|\n| x \\| y | z |\n"
