"""Grids of runs: plan, runner, results, summaries, statistics."""
