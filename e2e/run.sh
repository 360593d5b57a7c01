#!/usr/bin/env bash
# Run the scenarios on a cluster: the one that is up, else a local one that is started here and taken down at the end.
# KEEP=1 leaves it up. Arguments go to pytest (e2e/run.sh -k rollout).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

started=""
if ! "$python" -m e2e.cluster status >/dev/null 2>&1; then
  started=yes
  echo "==> local Kubernetes"
fi
finish() {
  if [ -n "$started" ] && [ -z "${KEEP:-}" ]; then
    "$python" -m e2e.cluster down
  fi
}
trap finish EXIT
"$python" -m e2e.cluster up
echo "==> images"
"$python" -m e2e.cluster image all --load
echo "==> scenarios"
.venv/bin/pytest -q e2e/scenarios "$@"
