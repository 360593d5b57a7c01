"""The launcher: what runs in an engine pod between the kubelet and the model server.

A model server knows how to serve. It does not know why it failed in words that an operator can show, how long
each part of its start took, that it belongs to a fleet, or how to leave without cutting streams. The launcher
adds exactly that around an unmodified engine image. It arrives as one zipapp from an init container, so it
may use nothing but the standard library, and it must run on whatever Python the image has (3.9 and newer).

It refuses to be a proxy: no request of a client ever passes through it. It refuses to scale, to retry or to
restart: those belong to the operator and the kubelet. And it takes no orders over the network; draining comes
by signal.
"""
