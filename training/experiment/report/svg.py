"""Figures as SVG text."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure


def as_svg(figure: Figure, name: str) -> str:
    """An ``<svg>`` element that needs nothing from elsewhere; ``name`` tells its ids from those of others on a page.

    Text stays text, and ids follow from the name, so that the same figure gives the same file.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    # A hundredth of a point is more than anybody sees; a figure of many points becomes half the size.
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    # Names of groups are the same in every figure, and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
