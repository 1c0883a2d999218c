"""Grids of runs: plan, runner, results, statistics."""
