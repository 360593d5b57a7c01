"""Ports for programs that must be told where to listen.

A port that was only found free belongs to nobody: until the program listens, which takes a second or ten, the
kernel may give it to whoever asks for any port, and a run has several workers that ask all the time. So it is
bound here, and never listened on, until the test process ends. Linux lets a listener with SO_REUSEADDR share
such a port and hands it out to nobody else; who connects before that is refused, as if it were free. A server
that ends and comes back finds its port as it left it, too.

Not for a server that can be told port 0 and asked afterwards: that needs none of this.
"""

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens, and nobody but the caller's servers will."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
        sock.detach()  # open until the process ends, and no object that would have to be closed
    return port
