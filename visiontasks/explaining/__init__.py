"""Joins models and data to `visiontasks.explain`, as `api` joins tasks to the engine; imports no torch."""
