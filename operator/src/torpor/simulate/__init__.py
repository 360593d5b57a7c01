"""Models of an inference engine, for trying things without one.

`engine_model` is one vLLM replica: its queue, its KV cache, its steps. It knows neither sockets nor clocks;
whoever drives it says what time it is. The simulated engine drives it with the wall clock, a backtest with
recorded time. Standard library only, so that the smallest image can carry it.
"""
