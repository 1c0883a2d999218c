"""docs/reference/cli.md: every command with its options, as ``--help`` prints them."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from diffcdr.cli import SUMMARIES, commands, load_command
from diffcdr.help import NOT_FOR_USERS, OTHER, GroupedHelp
from scripts.reference.markdown import inline, table

INTRODUCTION = """# Commands

Made from the code by `make reference`; a test compares it. `diffcdr COMMAND --help` prints the same.

Mistakes end with one line on standard error. Exit status: 1 a run that failed, 2 wrong arguments, settings or input,
3 a bundle, 4 a device, 5 a package that is not installed, 130 Ctrl-C.

"""


def page() -> str:
    """The whole page."""
    entries = commands()
    names = sorted(entries, key=list(SUMMARIES).index)
    overview = table(("command", "what it does"), ((f"[`diffcdr {n}`](#diffcdr-{n})", SUMMARIES[n]) for n in names))
    return INTRODUCTION + overview + "".join(_command(entries[name]) for name in names)


def _command(entry: EntryPoint) -> str:
    command = load_command(entry)
    assert isinstance(command, GroupedHelp)
    context = command.context_class(command, info_name=f"diffcdr {entry.name}")
    usage = " ".join([f"diffcdr {entry.name}", *command.collect_usage_pieces(context)])
    paragraphs = [text for text in (command.help or "").split("\n\n") if not text.strip().startswith(NOT_FOR_USERS)]
    parts = [f"\n## diffcdr {entry.name}\n", f"    {usage}\n"]
    if entry.extras:
        parts.append(f"Needs the extra `{entry.extras[0]}`.\n")
    parts += [f"{inline(' '.join(text.split()))}\n" for text in paragraphs]
    for title, options in command.entries(context).items():
        shown = [(f"`{names}`", text) for names, text in options if names != "--help"]
        if shown:
            head = "option" if title == OTHER else title[:1].lower() + title[1:]
            parts.append(table((head, "meaning"), shown))
    return "\n".join(parts)
