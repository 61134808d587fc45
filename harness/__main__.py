"""The command jepa-bench, which an installation has, and python -m harness: harness.run."""

from __future__ import annotations

import sys

from harness.runtime import quiet_start


def main() -> int:
    """Run the command of sys.argv; returns its exit code."""
    quiet_start.take_ctrl_c()
    from harness import run  # takes seconds

    return run.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
