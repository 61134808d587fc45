"""Hostile and broken input by the thousand: every reader of the project is given damaged files and
words, and must take them or refuse them in one line.

    python -m tests.fuzz cases=10000 [seed=0] [kinds=words,weights]

A case is reproduced by its kind, seed and number: kinds=weights seed=0 first=17 cases=1. Which
kinds there are stands in kinds.py, what counts as a fault in runner.py; tests/test_fuzz.py has a
short run.
"""
