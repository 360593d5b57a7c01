"""Parts of bench/gateway.py: the peers and how they are installed, the upstream, the client, the sums."""
