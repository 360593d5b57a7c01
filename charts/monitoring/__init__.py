"""What people look at and are paged by: rules and dashboards, written as Python and generated into the chart.

A dashboard that asks for a metric which nobody serves shows an empty panel, and an alert on one never fires;
both look like peace. So neither is typed into the chart by hand: they are data here, every expression is held
against what our processes and vLLM really expose (`charts.monitoring.contract`), and `python -m
charts.generate` writes the files, `--check` compares them. Nothing of this package is in an image: it writes
files of the chart, and the chart carries them.
"""
