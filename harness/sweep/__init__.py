"""Optuna over keys of the configuration: words -> space, suggestions -> trials, values."""
