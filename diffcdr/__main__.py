"""The program, as ``diffcdr`` and ``python -m diffcdr``: checks the Python version, then runs ``diffcdr.cli``.

Every Python from 3.6 on can read this file, so that one that is too old gets a sentence, not a syntax error.
"""

import sys

OLDEST_PYTHON = (3, 11)


def main() -> None:
    """Run the program; exit code 2 if this Python is too old."""
    if sys.version_info < OLDEST_PYTHON:
        needed, running = (".".join(map(str, version[:2])) for version in (OLDEST_PYTHON, sys.version_info))
        sys.stderr.write(
            f"error: diffcdr needs Python {needed} or newer, and this is {running}; "
            f"install it into an environment of a newer one: python{needed} -m venv .venv\n"
        )
        sys.exit(2)
    from diffcdr.cli import main as run  # noqa: PLC0415 - an older Python could not read it

    run()


if __name__ == "__main__":
    main()
