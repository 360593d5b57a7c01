"""The simulated engine: vLLM's HTTP surface, metrics and failures, with a latency model in place of a GPU.

Tests, benches, laptops and `helm test` need an engine that costs nothing and misbehaves on command. This one
answers with words that mean nothing, at the times a real replica would, and keeps vLLM's books: queue, KV
cache, preemptions. What it cannot stand for is written in docs/reference/simulated-engine.md.
"""
