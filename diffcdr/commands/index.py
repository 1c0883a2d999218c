"""``diffcdr index``: republishes a bundle with an approximate item index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcdr.bundle.format import INDEX_FILE
from diffcdr.bundle.manifest import SearchSpec
from diffcdr.bundle.reader import BundleWriter, open_bundle
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from diffcdr.recommend.recommender import Recommender
from diffcdr.search.approximate import DEFAULT_FLOOR, describe
from diffcdr.search.build_index import MEASURED_USERS, build_index


def index_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Directory to publish to; may be the same.", show_default=False)],
    recall_floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of the exact best 20 that the index must find.")
    ] = DEFAULT_FLOOR,
) -> None:
    """Republish a bundle with an approximate item index, for catalogues too large for an exact search.

    Its recall is measured against the exact search for users of the bundle; below the floor nothing is published.
    """
    reporter = Reporter()
    with reporter.task("index, measure and write", total=1, unit="bundle") as task:
        spec, bundle_id = index_bundle(bundle, out, floor=recall_floor)
        task.advance()
    reporter.note(f"published {out} (bundle {bundle_id[:12]}): {describe(spec)}")


def index_bundle(source: Path, destination: Path, *, floor: float) -> tuple[SearchSpec, str]:
    """Republish the bundle at ``source`` at ``destination`` with an item index; returns its spec and the new id.

    Raises:
        BundleError: ``source`` is no whole bundle.
        InputError: the index finds less than ``floor`` of the exact best 20, there is nobody to measure that for, or
            ``destination`` cannot be written; what was there is untouched.
        MissingExtraError: faiss is not installed.
    """
    bundle = open_bundle(source)
    items, manifest = bundle.target_items, bundle.manifest
    if manifest.sparse is not None:
        raise InputError(f"bundle {source} scores with a sparse term, which an item index leaves out; serve it exactly")
    users = Recommender(bundle, device="cpu").sampled_vectors(MEASURED_USERS)
    if not len(users):
        raise InputError(f"bundle {source} has no source users, so its recall cannot be measured; serve it exactly")
    with BundleWriter(destination) as writer:
        content, spec = build_index(items.vectors, items.biases, users, offset=manifest.scoring.offset, floor=floor)
        for name in manifest.files.keys() - {INDEX_FILE}:
            writer.copy(name, source / name)
        writer.data(INDEX_FILE, content.data)
        return spec, writer.publish(manifest.model_copy(update={"search": spec}))
