"""The parts of the autoscaling benchmark: loads, cells, table, frontier. `bench/autoscaling.py` is the
command."""
