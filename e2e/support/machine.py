"""The cluster that scenarios, demo and benches run on: the local one unless another of ours is named.

Everything goes through the commands a developer types (`python -m e2e.cluster ...`), so that there is one
way to bring a cluster up and one place that knows where its programs are.
"""
