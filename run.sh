#!/usr/bin/env bash
# One command: installs what is missing (once), then trains, evaluates and reports.
#   ./run.sh suite=all
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # it was called as: sh run.sh
set -euo pipefail
caller=$PWD
unset CDPATH
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"
source ./setup.sh
prepare
python=$PWD/.venv/bin/python
cd -- "$caller"
exec "$python" -P -m harness.run "$@" # -P: no file of that folder hides a module
