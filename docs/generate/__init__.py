"""Pages of the reference that repeat what the code says, made from the code.

`python -m docs.generate` writes them, `--check` compares. A page belongs here when each of its rows has an
owner in the code: a field of the API, a variable of a process, a series. What such an owner cannot say (why,
and what to do) is written by hand beside it, and a test holds its names against the code.
"""
