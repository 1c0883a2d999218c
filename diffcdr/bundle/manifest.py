"""The bundle's manifest: what was trained, on what, how good it is, and the hash of every file beside it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from diffcdr.bundle.attributes import MAX_ATTRIBUTES, AttributeSpec
from diffcdr.bundle.neighbours import LARGEST_POWER, NeighbourFacts

SCHEMA_VERSION: Final = 1


class _Frozen(BaseModel):
    # No infinities: what cannot be written as JSON cannot be shown either.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class FileRecord(_Frozen):
    """Size and SHA-256 (hex) of one file of the bundle."""

    bytes: int
    sha256: str


class TransferSpec(_Frozen):
    """How source vectors [B, source_dim] become target vectors [B, target_dim].

    ``affine``: ``transfer/matrix.npy`` and ``transfer/offset.npy``; ``onnx``: ``transfer.onnx`` alone.
    An affine bundle may carry the ONNX graph too; the runtime prefers the fold.
    """

    kind: Literal["affine", "onnx"]
    source_dim: int = Field(ge=1)
    target_dim: int = Field(ge=1)
    has_onnx: bool = False
    parity: dict[str, float] = Field(default_factory=dict)
    """Largest relative difference seen at export between each pair of paths, such as ``torch_onnx``."""
    details: dict[str, Any] = Field(default_factory=dict)
    """The method's own settings: nfe, guidance_scale, solver_order, activation, initial_state, …"""


class ScoringSpec(_Frozen):
    """score(u, j) = offset + target_items/biases[j] + target_items/vectors[j] . target_vector(u)."""

    objective: Literal["rating", "ranking"] = "rating"
    offset: float = 0.0
    rating_range: tuple[float, float] | None = None


class HistorySpec(_Frozen):
    """History features before the base vector u: source vector = [features ; vector_weight * u / |u|].

    Of a user with items J, whatever their ratings, with idf and basis from ``source_items/idf.npy`` [m] and
    ``source_items/basis.npy`` [m, dim]:

        features = sum_{j in J} idf[j] basis[j] / sqrt(sum_{j in J} idf[j]^2)
    """

    dim: int = Field(ge=1)
    vector_weight: float


class RatingShapeSpec(_Frozen):
    """How a user rates: of n ratings with residuals e about ``offset`` and ``source_items/level_biases.npy`` [m],

    sum e / (n + s) for each s of ``level_shrinkages``;
    (ratings at each level but the last + shrinkage * its share) / (n + shrinkage), levels evenly spaced;
    sqrt((sum (e - own)^2 + shrinkage * spread) / (n + shrinkage)) with own = sum e / (n + shrinkage);
    ln(1 + n).
    """

    offset: float
    shrinkage: float = Field(gt=0.0)
    level_shrinkages: tuple[float, ...]
    level_shares: tuple[float, ...]
    spread: float = Field(ge=0.0)
    rating_range: tuple[float, float]

    @property
    def dim(self) -> int:
        """Numbers a user."""
        return len(self.level_shrinkages) + len(self.level_shares) + 2


class SearchSpec(_Frozen):
    """``target_items/index.faiss``, used in place of the exact search, and its recall."""

    kind: Literal["ivf"]
    lists: int = Field(ge=1)
    probes: int = Field(ge=1)
    """Lists looked through for a user's best 20; more for longer ones."""
    radius: float = Field(gt=0.0)
    """Length of the longest item vector, its bias being one of its dimensions."""
    recall: float = Field(ge=0.0, le=1.0)
    """Mean share of the exact best 20 that was found at export, for ``users`` users of this bundle."""
    users: int = Field(ge=1)


class FoldInSpec(_Frozen):
    """Closed-form source vector for ratings r of items with vectors v and biases b.

    ``ridge``: argmin_u  sum (r - offset - b - v.u)^2 + sum_d regularisation[d] u_d^2.
    ``als`` (implicit feedback): argmin_u  sum_all_items c (p - v.u)^2 + sum_d regularisation[d] u_d^2 with p = 1 and
    c = ``confidence`` on the given items, whatever their ratings, p = 0 and c = 1 elsewhere.
    ``regularisation`` has one value for all dimensions of v, or one for each.
    """

    kind: Literal["ridge", "als"]
    offset: float = 0.0
    regularisation: tuple[float, ...]
    confidence: float = Field(default=1.0, ge=1.0)
    history: HistorySpec | None = None
    shape: RatingShapeSpec | None = None
    """Where given, the source vector is [u ; rating shape ; history features]."""


class SparseSpec(_Frozen):
    """score(u, j) is raised by the sum over the user's source items i of w_i S_ij; ``neighbours/`` holds S and g.

    w_i = g_i / (sum over own items of g^2)^(``length_power`` / 2).
    """

    length_power: float = Field(ge=0.0, le=LARGEST_POWER)


class WarmSpec(_Frozen):
    """How target ratings r of a user move the vector u0 that the user has without them.

    ``ridge``: argmin_u  sum (r - score(u, j))^2 + strength |u - u0|^2.
    ``als`` (implicit feedback): argmin_u  sum_all_items c (p - v.u)^2 + strength |u - u0|^2 with p = 1 and c =
    ``confidence`` on the rated items, whatever their ratings, p = 0 and c = 1 elsewhere.
    Without ratings u is u0. ``strength`` was chosen on validation users.
    ``stored``: what ``target_users/vectors.npy`` holds: the base model's own vectors, or ``blended`` with the
    transferred one for users who have a source vector.
    ``sparse``: whether users with target ratings keep the sparse term of their source history, as validation users
    prefer; without effect where the model has none. The vector is moved as if it had none.
    """

    kind: Literal["ridge", "als"]
    strength: float = Field(gt=0.0)
    confidence: float = Field(default=1.0, ge=1.0)
    stored: Literal["own", "blended"] = "own"
    sparse: bool = True


class LikesSpec(_Frozen):
    """The lowest ratings that are likes; lower ones of a request count for nothing, but that their items are seen."""

    source: float
    target: float


class Counts(_Frozen):
    """Rows of each table, and the users seen in both domains."""

    source_users: int
    source_items: int
    target_users: int
    target_items: int
    overlap_users: int


class InputFile(_Frozen):
    """One rating file: its base name (no path), hash, rows read and kept, and what cleaning did, by reason.

    ``noted``: what was merely counted, such as times not understood; ``how``: what was recognised of the file.
    ``rating_range``: ratings outside were left out; ``found_range``: the lowest and highest number in the file, those
    outside included. None in bundles that were made before these were kept.
    """

    name: str
    sha256: str
    rows_read: int
    rows_kept: int
    cleaning: dict[str, int] = Field(default_factory=dict)
    noted: dict[str, int] = Field(default_factory=dict)
    how: dict[str, str] = Field(default_factory=dict)
    rating_range: tuple[float, float] | None = None
    found_range: tuple[float, float] | None = None


class ItemsFile(_Frozen):
    """A file of titles or items: its base name, hash and rows, and how many of the domain's items have a row in it.

    ``columns``: the file's column of each role (``item``, ``title``).
    """

    name: str
    sha256: str
    rows: int
    columns: dict[str, str]
    items: int
    items_with_row: int


class Trial(_Frozen):
    """One combination of settings that was tried, and its figures on the validation users."""

    settings: dict[str, Any]
    validation: dict[str, float]


class Tuning(_Frozen):
    """How settings were chosen from grids: the best ``metric`` on validation users, of equals the first tried."""

    metric: str
    chosen: dict[str, Any]
    trials: tuple[Trial, ...]


class Paired(_Frozen):
    """Mean over users of this bundle's figure less another model's, on the same users, and its standard error."""

    metric: str
    difference: float
    standard_error: float | None = None


class Provenance(_Frozen):
    """Where the bundle comes from: enough to train it again."""

    source: InputFile
    target: InputFile
    source_items: ItemsFile | None = None
    """What titles of source items are from; None where no file was given."""
    target_items: ItemsFile | None = None
    """As ``source_items``, and what the attributes are from."""
    seed: int
    test_fraction: float
    split: dict[str, int]
    """Overlap users in ``train``, ``validation`` and ``test``."""
    held_out: Literal["known", "cold"] = "cold"
    """Whether held-out users are served with their target ratings, or as they were measured."""
    cut: str | None = None
    """The last moment of training, ISO 8601 in UTC, where test users are those who came later; None where they were
    drawn from the overlap users."""
    config: dict[str, Any] = Field(default_factory=dict)
    tuning: dict[str, Tuning] = Field(default_factory=dict)
    """By model, where settings were chosen from grids: ``chosen`` goes before what ``config`` says."""
    selected_by: str | None = None
    """The figure on validation users that chose the model among those of ``metrics``; None where it was named."""
    favoured: str | None = None
    """The model that would be published unless another's ``selected_by`` was better by one standard error of the paired
    difference; None where the best was taken, or one was named."""
    versions: dict[str, str] = Field(default_factory=dict)


class Manifest(_Frozen):
    """The whole of ``manifest.json``. ``metrics[scope][model][metric]``; scope is ``test`` or ``validation``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created_at: datetime
    generator: str
    model: str
    preset: str
    transfer: TransferSpec
    scoring: ScoringSpec
    search: SearchSpec | None = None
    """None where all items are looked at: the exact search."""
    sparse: SparseSpec | None = None
    """None where scores are of vectors and biases alone."""
    fold_in: FoldInSpec | None = None
    likes: LikesSpec | None = None
    """None where every rating is a like, or its value counts."""
    warm: WarmSpec | None = None
    """None where target ratings cannot move a user's list: the popular list, for one."""
    attributes: tuple[AttributeSpec, ...] = Field(default=(), max_length=MAX_ATTRIBUTES)
    """Of the target items, in the order of their folders; each name once."""
    counts: Counts
    provenance: Provenance
    metrics: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    standard_errors: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    """Of those of ``metrics`` that have one, by the same keys; over the users of the scope."""
    paired: dict[str, dict[str, Paired]] = Field(default_factory=dict)
    """[scope][model]: this bundle's model against each other one."""
    files: dict[str, FileRecord] = Field(default_factory=dict)

    @property
    def neighbours(self) -> NeighbourFacts | None:
        """How large the sparse term is; None where there is none."""
        if self.sparse is None:
            return None
        return NeighbourFacts.of({name: record.bytes for name, record in self.files.items()})
