"""What clients' own libraries make of the gateway: one list of checks for two kinds of engine.

That an answer passes the gateway unchanged says little to somebody whose program uses `openai` or
`anthropic`: those libraries parse streams in their own way, map statuses to exceptions, read Retry-After,
give up, leave in the middle. So each check is a few lines of such a program, run against a gateway in a
process of its own with keys, limits and fleets in all states.

The integration tests run them with the simulated engine, and with a `Tape` where that engine has no answer:
tools, structured outputs, `/v1/responses`, `/v1/messages`, as vLLM gave them once. `python -m
e2e.conformance` runs the same list, and `vllm bench serve`, with a real vLLM on this machine's CPU, and can
write the tape.

A check that cannot be put to a real engine (it dies in the middle of an answer) meets the tape in both.
"""
