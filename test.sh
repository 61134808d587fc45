#!/usr/bin/env bash
# The checks: lint, format, tests. Arguments go to pytest: ./test.sh tests/test_setup.py -k stamp
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh
prepare
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
exec .venv/bin/python -m pytest "$@"
