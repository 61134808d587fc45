"""Files from outside, loaded by a test and forgotten when it ends."""

import contextlib
import sys
from pathlib import Path

from harness import zoo
from harness.runtime import outside

EXAMPLES = Path(__file__).parent.parent / "examples"
_DICTS = (zoo.METHODS, zoo.TASKS, zoo.PLANNERS, outside._modules, outside._codes)


@contextlib.contextmanager
def forgotten():
    """What is loaded from outside within is not there afterwards."""
    before = [dict(entries) for entries in _DICTS], list(outside._sources)
    modules = set(sys.modules)
    try:
        yield
    finally:
        for entries, old in zip(_DICTS, before[0], strict=True):
            entries.clear()
            entries.update(old)
        outside._sources[:] = before[1]
        for name in [n for n in set(sys.modules) - modules if n.startswith("outside_")]:
            del sys.modules[name]
