"""The operator's only input and output: the Kubernetes API and the gateways' demand streams.

Everything below speaks in plain dicts and frozen values; no rule about fleets lives here.
"""
