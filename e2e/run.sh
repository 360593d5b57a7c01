#!/usr/bin/env bash
# Run the scenarios on a cluster: the one that is up, else a local one that the session starts (e2e/support/machine.py)
# and that is taken down here at the end, however the session ended. In three parts (e2e/scenarios/README.md): those that
# share a release, side by side; those that hurt it or the node, alone; those with a release of their own, side by side.
# With arguments, which go to pytest (e2e/run.sh -k rollout), one process runs what they choose. KEEP=1 leaves the
# cluster up.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
# Every worker loads every plugin, and these two cost it two seconds of a processor for nothing.
scenarios=(.venv/bin/pytest -q -p no:hypothesispytest -p no:anyio e2e/scenarios)

if [ -z "${KEEP:-}" ] && ! "$python" -m e2e.cluster status >/dev/null 2>&1; then
  trap '"$python" -m e2e.cluster down' EXIT
fi
if [ $# -gt 0 ]; then
  "${scenarios[@]}" "$@"
  exit
fi
echo "==> cluster, images, scenarios that share a release"
"${scenarios[@]}" --part together -n 4 --dist loadscope --keep-install
echo "==> scenarios that run alone"
"${scenarios[@]}" --part alone
echo "==> scenarios with a release of their own"
"${scenarios[@]}" --part own -n 3 --dist loadscope
