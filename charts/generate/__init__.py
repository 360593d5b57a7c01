"""What the chart holds that a person should not type: its values' schema, the table in its README, the CRD,
and the rules (charts/monitoring).

values.yaml is the one place where a value is named, explained and given its default. Everything else that
repeats it is made from it by `python -m charts.generate`, committed, and compared by `python -m
charts.generate --check` and by the chart's tests. The CustomResourceDefinition comes from crds/, byte for
byte, because a chart must be complete without the repository around it and a symbolic link does not survive
packaging.
"""
