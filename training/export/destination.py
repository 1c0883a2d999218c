"""Where a bundle is to be written: checked, and its room on the disk kept, before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from diffcdr.atomic import reserving
from diffcdr.bundle.writer import BundleWriter
from diffcdr.errors import InputError
from training.data.domains import DomainPair


def check_destination(path: Path) -> None:
    """Check before any work that a bundle can be written to ``path``. Raises InputError if not."""
    with BundleWriter(path):
        pass


@contextmanager
def reserving_space(path: Path, pair: DomainPair, *, histories: bool) -> Iterator[Callable[[], None]]:
    """Keep room on the disk for the bundle at ``path`` until the function is called: training begins with it, or not.

    What is kept is the least that a bundle of ``pair`` takes.

    Raises:
        InputError: there is not so much room.
    """
    tables = [table for domain in (pair.source, pair.target) for table in (domain.users, domain.items)]
    size = sum(table.array.nbytes + _LEAST_VECTOR_BYTES * len(table) for table in tables)
    size += _SEEN_BYTES * len(pair.target.ratings) + (_HISTORY_BYTES * len(pair.source.ratings) if histories else 0)
    with ExitStack() as stack:
        try:
            release = stack.enter_context(reserving(path.resolve().parent, size))
        except OSError as error:
            raise InputError(
                f"cannot write the bundle to {path}, which takes {size / 1e6:,.1f} MB or more: {error.strerror}; free "
                "some space or choose another --bundle directory"
            ) from error
        yield release


_LEAST_VECTOR_BYTES, _SEEN_BYTES, _HISTORY_BYTES = 16 * 4, 4, 8
