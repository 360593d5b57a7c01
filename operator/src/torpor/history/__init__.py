"""A fleet's past, read from Prometheus: what came, what ran, and what another policy would have made of it.

Only `prometheus` does I/O, behind `source.Source`; everything else is pure and knows neither clock nor
network:

- `matchers`, `names`: which series to ask for, with every label value escaped here;
- `read`: the questions, in an order that refuses what is too much before it is asked for;
- `series`: counters that begin anew, stretches that nobody watched;
- `lengths`, `rebuild`: from counters and histograms to a trace of requests;
- `engine`: what a replica costs per step, learned by the production code from the same series;
- `happened`, `backtest`: figures of what was and of what would have been, by the simulator and
  `torpor.decide`;
- `picture`: both over time.

Needs numpy and numba, which only the command line has.
"""
