"""Real vLLM beside the simulated engine: the questions, and what differs in the answers.

The integration tests put them to the simulated engine and compare with a recording; the scenario
`first_token` puts them to a running vLLM. Needs httpx, unlike `e2e.support`.
"""
