"""Reads YAML that somebody else may have written as plain values: nothing in it can call anything,
refer to itself, or grow when it is read.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_LEVELS = 50  # of lists and dictionaries in one another

Loader = type[yaml.BaseLoader] | type[yaml.SafeLoader]


def load(text: str, loader: Loader) -> Any:
    """The content of `text`: BaseLoader leaves values as text, SafeLoader reads numbers and dates.

    Raises ValueError, with one line, on what is no YAML, is nested more than MOST_LEVELS deep, or
    has a part that stands in two places (an anchor): a few lines of those would be gigabytes.
    """
    try:
        content = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    known: set[int] = set()
    level = [content]
    for _ in range(MOST_LEVELS):
        level = [part for part in level if isinstance(part, dict | list)]
        for part in level:
            if id(part) in known:
                raise ValueError("it has an anchor (&): write its parts out")
            known.add(id(part))
        level = [
            item for part in level for item in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
    return content
