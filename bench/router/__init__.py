"""The parts of the routing benchmark: replicas with caches, texts, and who chooses. `bench/routing.py` is the
command."""
