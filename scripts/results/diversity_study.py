"""What diverse lists cost in accuracy and bring beyond it: one fitted model at several degrees of ``diversity``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from diffcdr.search.diversity import diversify, pool_size
from diffcdr.search.topk import TopK
from training.evaluation.beyond import BeyondAccuracy, beyond_accuracy
from training.evaluation.ranking import UserLists, ranking_metrics
from training.experiment.report.tables import ReportTable, TableCell
from training.models.contract import TransferModel
from training.run.fit import part_of
from training.run.prepare import Prepared

DIVERSITIES = (0.0, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class DiversityFigures:
    """Means over the test users of one split, at ``k`` 20. ``milliseconds``: a user, of the choosing alone."""

    diversity: float
    ndcg: float
    hr: float
    recall: float
    beyond: BeyondAccuracy
    milliseconds: float


def diversity_study(
    model: TransferModel, prepared: Prepared, *, diversities: Sequence[float] = DIVERSITIES, k: int = 20
) -> list[DiversityFigures]:
    """Measure ``model``, fitted, on the cold test users, each degree on the same candidates."""
    test, head = prepared.test, model.head()
    with torch.no_grad():
        vectors = model.transfer(model.source_vectors()[test.source_rows]).numpy()
    items = head.item_vectors.numpy()
    search = TopK(items, head.item_biases.numpy(), offset=head.offset)
    sparse = part_of(model, test, prepared.problem.source)
    pool, scores = search.search(vectors, pool_size(k, len(items)), sparse=sparse)
    relevant = UserLists.build(test.ratings.users, test.ratings.items, n_users=len(vectors))
    found = []
    for diversity in diversities:
        begun = time.perf_counter()
        lists = diversify(pool, scores, items, k=k, diversity=diversity)[0] if diversity else pool[:, :k]
        seconds = time.perf_counter() - begun
        ranking = ranking_metrics(lists, relevant)
        found.append(
            DiversityFigures(
                diversity=diversity,
                ndcg=float(ranking.ndcg.mean()),
                hr=float(ranking.hr.mean()),
                recall=float(ranking.recall.mean()),
                beyond=beyond_accuracy(lists[relevant.counts() > 0], prepared.problem.target),
                milliseconds=1000 * seconds / len(lists),
            )
        )
    return found


def diversity_table(found: Mapping[str, Sequence[DiversityFigures]]) -> ReportTable:
    """A row a degree, pair by pair; ``found`` is by the pair's name."""
    rows = []
    for pair, each in ((pair, each) for pair, figures in found.items() for each in figures):
        figures = (
            pair,
            f"{each.diversity:g}",
            f"{each.ndcg:.4f}",
            f"{each.hr:.4f}",
            f"{each.recall:.4f}",
            f"{each.beyond.coverage:.3f}",
            f"{each.beyond.novelty:.2f}",
            f"{each.beyond.gini:.3f}",
            f"{1 - each.beyond.similarity:.3f}",
            f"{each.milliseconds:.2f}",
        )
        rows.append(tuple(map(TableCell, figures)))
    accuracy, beyond = ("NDCG@20", "HR@20", "Recall@20"), ("coverage", "novelty, bits", "Gini", "intra-list distance")
    columns = ("pair", "diversity", *accuracy, *beyond, "ms a user")
    note = (
        "One split each (seed 0, β = 0.2); lists of 20 chosen from the best 100 of each user. "
        "Intra-list distance is by who rated the items, not by the vectors that the choice goes by. Milliseconds: the "
        "choosing alone, one thread, all users in one batch."
    )
    return ReportTable("What diversity costs and brings", columns, tuple(rows), (note,))
