#!/usr/bin/env bash
# Run the scenarios on a cluster: the one that is up, else a local one that the session starts (e2e/support/machine.py)
# and that is taken down here at the end, however the session ended. KEEP=1 leaves it up. Arguments go to pytest
# (e2e/run.sh -k rollout).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

if [ -z "${KEEP:-}" ] && ! "$python" -m e2e.cluster status >/dev/null 2>&1; then
  trap '"$python" -m e2e.cluster down' EXIT
fi
echo "==> cluster, images, scenarios"
.venv/bin/pytest -q e2e/scenarios "$@"
