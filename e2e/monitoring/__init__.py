"""A real Prometheus that scrapes Torpor, and the questions that dashboards and rules put to it.

A query that parses and names only metrics that exist can still return nothing: labels that do not match, a
quotient of two sides that never meet, a scrape that renames what it reads. Only a Prometheus that scraped the
real processes can say so. `prometheus` runs one, `scrape` and `discovery` tell it what to read (processes of
this host, or what the chart's monitors select in a cluster), `questions` is what dashboards and rules ask,
and `asking` puts it and judges the answers.
"""
