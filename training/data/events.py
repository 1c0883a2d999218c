"""Ratings that users sent since the last training, as ``diffcdr events export`` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from diffcdr.atomic import file_sha256
from diffcdr.errors import InputError
from diffcdr.event_weights import RATING, EventWeights
from diffcdr.files.id_rule import apply_rule
from training.data.readers import DEFECTS, RawRatings

_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "domain": pl.String,
    "timestamp": pl.Int64,
}
_LATER = {"type": pl.String}
"""Files of an earlier version have ratings alone."""
_READERS: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".jsonl": lambda path: pl.read_ndjson(path, schema={**_SCHEMA, **_LATER}),
}


@dataclass(frozen=True)
class EventFile:
    """Events of both domains. ``frame``: user_id, item_id, domain, type str, rating f64 (null: none was given),
    timestamp i64 (null: unknown). ``weights``: what those without a rating count as."""

    frame: pl.DataFrame
    name: str
    sha256: str
    weights: EventWeights

    def counted(self) -> int:
        """How many of the events training learns from: those with a rating, or of a type with a weight."""
        weighted = list(self.weights.ratings(None))
        return self.frame.filter(pl.col("rating").is_not_null() | pl.col("type").is_in(weighted)).height

    def join(self, raw: RawRatings, side: str, *, rating_range: tuple[float, float]) -> RawRatings:
        """``raw`` and, after it, its domain's events (``side``: source or target), as if of one file.

        An event without a rating counts as one by the weight of its type, on the scale ``rating_range``, and is left
        out where that is 0.
        """
        sent = self.frame.filter(pl.col("domain") == side)
        worth = pl.col("type").replace_strict(self.weights.ratings(rating_range), default=None, return_dtype=pl.Float64)
        own = sent.with_columns(pl.coalesce("rating", worth).alias("rating"))
        # A rating without a number is a defect, which cleaning counts; anything else says nothing of a liking.
        own = own.filter(pl.col("rating").is_not_null() | (pl.col("type") == RATING))
        if not own.height:
            return raw
        users, items = apply_rule(own["user_id"]), apply_rule(own["item_id"])
        rows = pl.DataFrame(
            {
                "user_id": users.ids,
                "item_id": items.ids,
                "rating": own["rating"],
                "timestamp": own["timestamp"],
                "defect": pl.repeat(None, own.height, dtype=DEFECTS, eager=True),
                "text": pl.repeat(None, own.height, dtype=pl.String, eager=True),
                "time_text": pl.repeat(None, own.height, dtype=pl.String, eager=True),
                "has_time": pl.repeat(True, own.height, dtype=pl.Boolean, eager=True),
            }
        )
        left_out = sent.height - own.height
        silent = f", {left_out:,} more without a weight left out" if left_out else ""
        how = {**raw.how, "events": f"{own.height:,} of {self.name} ({self.sha256[:12]}){silent}"}
        frame = pl.concat([raw.frame, rows.select(raw.frame.columns)])
        return replace(raw, frame=frame, how=how)


def read_events(path: Path, *, weights: EventWeights | None = None, may_be_empty: bool = False) -> EventFile:
    """Read the file at ``path``, .parquet, .csv or .jsonl. ``weights``: the built-in ones if not given.

    Raises:
        InputError: it cannot be read, is not what ``diffcdr events export`` writes, or holds nothing.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"--events {path}: give what diffcdr events export wrote, ending in {', '.join(_READERS)}")
    try:
        found = read(path)
        missing = [name for name in _SCHEMA if name not in found.columns]
        if missing:
            raise InputError(f"--events {path} has no column {missing[0]}; give what diffcdr events export wrote")
        columns = [pl.col(name).cast(kind) for name, kind in _SCHEMA.items()]
        types = pl.col("type").cast(pl.String).fill_null(RATING) if "type" in found.columns else pl.lit(RATING)
        frame = found.select(*columns, types.alias("type"))
        digest = file_sha256(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"--events {path} cannot be read: {reason}; export it again") from error
    strange = frame.filter(~pl.col("domain").is_in(["source", "target"]).fill_null(False))
    if strange.height:
        raise InputError(f"--events {path}: a domain is {strange['domain'][0]!r}; it must be source or target")
    if not frame.height and not may_be_empty:
        raise InputError(f"--events {path} holds no events; leave the option out to train on the files alone")
    return EventFile(frame, path.absolute().name, digest, weights or EventWeights.parse("", name="--event-weights"))
