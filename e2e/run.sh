#!/usr/bin/env bash
# Run the scenarios on a cluster: the one that is up, else a local one that the session starts (e2e/support/machine.py)
# and that is taken down here at the end, however the session ended. First those that can bear each other, side by side;
# then those that kill and roll Torpor itself. KEEP=1 leaves the cluster up. Arguments go to pytest (e2e/run.sh -k rollout).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

scenarios() {
  # 5 is pytest's word for "the arguments chose none of these", which is no failure of the other half
  .venv/bin/pytest -q e2e/scenarios "$@" || [ $? -eq 5 ]
}

if [ -z "${KEEP:-}" ] && ! "$python" -m e2e.cluster status >/dev/null 2>&1; then
  trap '"$python" -m e2e.cluster down' EXIT
fi
echo "==> cluster, images, scenarios side by side"
scenarios -m "not disruptive" -n 3 --dist loadscope --keep-install "$@"
echo "==> scenarios that run alone"
scenarios -m disruptive "$@"
