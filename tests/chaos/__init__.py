"""Kills commands at any moment, hundreds of times: after each, the same command must finish, and
nothing may be lost, doubled, half written or run again.

    python -m tests.chaos kills=1000 [seed=0] [results=FOLDER] [kinds=loop,ray]

The same command again goes on where it was. A case is reproduced by its kind, seed and number:
kinds=loop seed=0 case=17 (its folder stays). Which kinds there are stands in kinds.py, what counts
as a fault in check.py; tests/test_chaos.py has a short run. Linux only; mounts need root, kills in
the middle of a write need gcc, and what is not possible here is said and left out.
"""
