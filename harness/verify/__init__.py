"""Recomputes what can be recomputed of a run, so that nobody has to believe a number."""
