"""A real Kubernetes on one Linux machine without Docker, built from what package registries hold.

The promises of the product can only be proven on a real API server, a real kubelet and real containers; a
machine for development or continuous integration often has none and no Docker to make one. So this package
builds Kubernetes from source once (a Go program that is every component), takes containerd and runc from
Debian, and runs them as plain processes: `python3 -m e2e.cluster up`. `README.md` beside this file says what
is where.

It uses the standard library only, because it runs before any virtual environment exists. It refuses to be a
production installer: one node, no renewal of certificates, no upgrade, and everything is thrown away by
`down`.
"""
