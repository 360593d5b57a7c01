"""Models of an inference engine and of a fleet of them, for trying things without one.

`engine_model` is one vLLM replica: its queue, its KV cache, its steps. It knows neither sockets nor clocks;
whoever drives it says what time it is. The simulated engine drives it with the wall clock. It, `kv_cache`,
`sequences` and `profiles` are standard library only, so that the smallest image can carry them.

`fleet` runs a whole trace through a gateway and its replicas, under any policy: the same steps in closed form
(`replica_kernel`, `cache_kernel`, `fleet_kernel`), held equal to `engine_model` by a test. It needs numpy and
numba, which only the command line has.
"""
