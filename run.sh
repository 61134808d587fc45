#!/usr/bin/env bash
# One command: installs what is missing (once), then trains, evaluates and reports.
#   ./run.sh suite=all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh
prepare
exec .venv/bin/python -m harness.run "$@"
