"""The steps of a run, in order: prepare, fit, tune, choose, finish. Imports data and models."""
