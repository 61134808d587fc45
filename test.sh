#!/usr/bin/env bash
# The checks: lint, format, types, tests. Arguments go to pytest: ./test.sh tests/test_setup.py -k stamp
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # it was called as: sh test.sh
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
source ./setup.sh
prepare
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m mypy
if [ $# = 0 ]; then set -- -n 2 --dist loadfile; fi # on both cores, a file's tests on one
exec .venv/bin/python -m pytest "$@"
