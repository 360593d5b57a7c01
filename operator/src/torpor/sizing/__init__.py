"""How many of which accelerators a model needs: `torpor size`, without a cluster, a trace or a GPU.

`model` reads what a model is (its config.json, or the few numbers that matter) and works out parameters,
bytes of weights and bytes of cache per token. `fit` puts it on accelerators: does it fit, what does a step
take (the decision's own table, else a roofline with slack), what does one replica carry within the
objectives, and how many are needed; the last two are `torpor.decide.work`, the code that scales the fleet
later.
"""
