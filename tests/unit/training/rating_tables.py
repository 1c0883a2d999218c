"""Rating tables for tests, from whatever holds the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.rating_table import RatingTable


def rating_table(users: Any, items: Any, ratings: Any, n_users: int, n_items: int) -> RatingTable:
    """The columns as a table of their types; tensors, arrays and lists will do."""
    return RatingTable(
        np.asarray(users, dtype=np.int64),
        np.asarray(items, dtype=np.int64),
        np.asarray(ratings, dtype=np.float32),
        n_users,
        n_items,
    )


def no_ratings(*, n_items: int) -> RatingTable:
    """The table of nobody."""
    return rating_table([], [], [], 0, n_items)
