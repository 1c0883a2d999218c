"""How long a batch takes: duration = per_row * rows + per_batch, fitted over recent batches."""

from __future__ import annotations


class Pace:
    """Least squares on (rows, seconds), in which a batch counts ``memory`` times less with every later batch."""

    def __init__(self, *, memory: float = 0.97) -> None:
        """``memory``: weight left to a batch after one more, in (0, 1); 0.97 looks back about thirty batches."""
        self._memory = memory
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def add(self, *, rows: int, seconds: float) -> None:
        """Count one batch."""
        keep = self._memory
        self._weight = self._weight * keep + 1.0
        self._x = self._x * keep + rows
        self._y = self._y * keep + seconds
        self._xx = self._xx * keep + rows * rows
        self._xy = self._xy * keep + rows * seconds

    def coefficients(self) -> tuple[float, float]:
        """(per_row, per_batch) in seconds, neither negative; (0, 0) before the first batch.

        Where all batches had about one size the two cannot be told apart; everything is then put on the rows,
        which overstates large batches rather than understating them.
        """
        if not self._weight:
            return 0.0, 0.0
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - mean_x * mean_x
        covariance = self._xy / self._weight - mean_x * mean_y
        proportional = mean_y / mean_x
        slope = covariance / variance if variance > 0.05 * mean_x * mean_x else proportional
        slope = min(max(slope, 0.0), proportional)
        return slope, mean_y - slope * mean_x

    def seconds(self, *, rows: int, batch_rows: int) -> float:
        """Expected time for ``rows`` rows in batches of at most ``batch_rows``."""
        per_row, per_batch = self.coefficients()
        return per_row * rows + per_batch * -(-rows // batch_rows)
