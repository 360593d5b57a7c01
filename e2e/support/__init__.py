"""What scenarios, demo and benches share: a cluster to talk to, an install, fleets, and clients that count
what is lost.

Standard library only, so that the demonstration needs nothing but Python. Each module does one thing; none
of them knows how Torpor works inside: they see what a user sees, through the API server and the gateway's
address.
"""
