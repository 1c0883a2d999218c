"""What one kind of processor answers: ``python -m tests.processor_answers FOLDER`` prints digests and vectors as JSON.

FOLDER holds what :mod:`tests.unit.diffcdr.test_processors` made once for all kinds: two bundles and an item index.
Everything else is drawn here, from a hash, so that it is the same to the last bit wherever this runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

from diffcdr.bundle.manifest import SearchSpec
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.recommend.fold_in import FoldIn
from diffcdr.recommend.recommender import Recommender
from diffcdr.recommend.transfer import AffineTransfer
from diffcdr.recommend.warm_start import Blend
from diffcdr.search.approximate import ApproximateTopK
from diffcdr.search.diversity import diversify
from diffcdr.search.topk import MaskedRows, TopK

Float32Array = npt.NDArray[np.float32]
Lists = tuple[npt.NDArray[np.int32], Float32Array]


def drawn(name: str, *shape: int) -> Float32Array:
    """Multiples of 2^-14 from -2 to 2, as good as at random."""
    content = shake_256(name.encode()).digest(2 * int(np.prod(shape)))
    return (np.frombuffer(content, dtype="<i2").reshape(shape) / np.float32(2**14)).astype(np.float32)


def masks(name: str, users: int, *, items: int, most: int) -> MaskedRows:
    """Up to ``most`` item rows for each user, some of them twice."""
    counts = (np.abs(drawn(f"{name} counts", users)) / 2 * most).astype(np.int64)
    rows = (np.abs(drawn(f"{name} rows", int(counts.sum()))) / 2 * (items - 1)).astype(np.int32)
    return MaskedRows(np.concatenate([[0], np.cumsum(counts)]), rows)


def searches() -> Iterator[tuple[str, TopK, Float32Array, int, MaskedRows | None]]:
    """Name, items, users, k and masks: ties, masks, one user, few, many, hardly any items, both ends of float32."""
    for dim in (1, 3, 10, 33, 64):
        vectors, biases = drawn(f"items {dim}", 3_000, dim), drawn(f"biases {dim}", 3_000)
        users = drawn(f"users {dim}", 600, dim)
        search = TopK(vectors, biases, offset=0.3)
        for count in (1, 3, 5, 600):
            yield f"{count} x {dim}", search, users[:count], 20, None
            yield f"{count} x {dim} masked", search, users[:count], 20, masks("m", count, items=3_000, most=500)
    coarse, lengths = np.round(drawn("coarse", 2_000, 4)), np.exp2(np.round(4 * drawn("lengths", 2_000, 1)))
    alike = np.round(drawn("users 3", 40, 4))
    for name, vectors in (("ties", coarse), ("lengths", coarse * lengths), ("all equal", np.zeros_like(coarse))):
        search = TopK(vectors, np.round(drawn("levels", 2_000)) if name == "ties" else np.zeros(2_000, np.float32))
        for count in (1, 40):
            yield f"{name}, {count}", search, alike[:count], 100, masks("t", count, items=2_000, most=50)
    few = TopK(coarse[:30], drawn("few", 30))
    yield "more than there are", few, alike, 35, masks("f", 40, items=30, most=60)
    for exponent in (-140, -60, 55, 60, 63, 120):
        scale = np.float32(2.0**exponent)
        extreme = TopK(coarse * scale, drawn("ends", 2_000) * scale)
        for count in (1, 40):
            yield f"2^{exponent}, {count}", extreme, alike[:count] * scale, 20, None


def lists(*, compiled: bool) -> dict[str, str]:
    """The digest of each case's rows and scores."""
    found = {}
    for name, search, users, k, masked in searches():
        if compiled:
            search.compile()
        found[name] = digest(search.search(users, k, masked=masked))
    return found


def transferred() -> Iterator[Float32Array]:
    """Vectors carried by folded maps of several widths, alone and in batches."""
    for source, target in ((1, 1), (5, 1), (10, 10), (64, 33), (300, 64)):
        transfer = AffineTransfer(drawn(f"map {source}", source, target), drawn(f"offset {source}", target))
        for count in (1, 2, 300):
            yield transfer(drawn(f"carried {source}", count, source))


def diverse() -> Iterator[Lists]:
    """Lists of weights from 0.1 to 0.9, of short and long vectors."""
    for dim in (2, 10, 64):
        vectors = drawn(f"items {dim}", 3_000, dim)
        pools = TopK(vectors, np.zeros(3_000, np.float32)).search(drawn(f"users {dim}", 9, dim), 100)
        yield diversify(*pools, vectors, k=20, diversity=np.linspace(0.1, 0.9, 9))


def approximate(folder: Path) -> Iterator[Lists]:
    """Through the lists of an index."""
    vectors, biases, users = indexed_items()
    spec = SearchSpec.model_validate_json((folder / "index.json").read_text())
    search = ApproximateTopK(TopK(vectors, biases), np.load(folder / "index.npy"), spec)
    for count in (1, 400):
        yield search.search(users[:count], 20)
        yield search.search(users[:count], 20, masked=masks("a", count, items=len(vectors), most=40))


def indexed_items() -> tuple[Float32Array, Float32Array, Float32Array]:
    """Vectors, biases, users; some items are there twice."""
    vectors = drawn("indexed", 6_000, 8)
    vectors[3_000:3_500] = vectors[:500]
    return vectors, np.zeros(6_000, np.float32), drawn("asking", 400, 8)


def served(recommender: Recommender) -> Iterator[Lists]:
    """Lists of users whose vectors are stored or transferred, straight and diverse."""
    users = [f"u{number:05}" for number in range(50)] + [f"v{number:05}" for number in range(6)]
    for diversity in (0.0, 0.4):
        answer = recommender.top_rows(users, 12, diversity=diversity)
        yield answer.items, answer.scores


def solved(bundle: Bundle) -> list[list[float]]:
    """Vectors that linear equations were solved for: of source ratings, and moved by target ratings."""
    manifest, items = bundle.manifest, bundle.target_items
    assert manifest.fold_in is not None
    assert manifest.warm is not None
    fold_in = FoldIn(manifest.fold_in, bundle.source_items)
    blend = Blend(manifest.warm, items.vectors, items.biases, offset=manifest.scoring.offset)
    vectors = []
    for size in (1, 3, 20):
        folded = fold_in([(f"s{row:05}", 1.0 + row % 5) for row in range(size)])
        assert folded is not None
        rows = np.arange(0, 3 * size, 3)
        vectors += [folded.tolist(), blend(items.vectors[7], rows, 1.0 + rows % 5).astype(np.float32).tolist()]
    return vectors


def digest(arrays: Any) -> str:
    """SHA-256 of the arrays' bytes, on every processor in the same order."""
    content = sha256()
    for array in arrays:
        content.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return content.digest().hex(" ", 8)


def main(folder: Path) -> None:
    """Print everything. Without numba first: the compiled loops are loaded after it."""
    plain = lists(compiled=False)
    assert "numba" not in sys.modules
    rating, ranking = (Recommender(open_bundle(folder / name)) for name in ("rating", "ranking"))
    answers = {
        "blas": [info["architecture"].lower() for info in threadpool_info() if info["internal_api"] == "openblas"],
        "lists": digest([np.frombuffer(json.dumps(plain).encode(), np.uint8)]),
        "differ with numba": [name for name, found in lists(compiled=True).items() if found != plain[name]],
        "numba": "numba" in sys.modules,
        "cases": plain,
        "transferred": digest(transferred()),
        "diverse": digest(array for pair in diverse() for array in pair),
        "approximate": digest(array for pair in approximate(folder) for array in pair),
        "served": digest(array for each in (rating, ranking) for pair in served(each) for array in pair),
        "solved": [vector for each in (rating, ranking) for vector in solved(each.bundle)],
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
