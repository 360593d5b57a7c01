"""TLS on a client's connection: between the socket and the protocol that speaks HTTP.

The event loop has TLS of its own, which shows nobody a connection before its handshake is done, so that
neither the limits of connections and open files nor deadlines would hold for who connects and stays silent;
which waits for the client's goodbye for as long as for the client to take its answer; and which buffers once
more what the socket buffers already. Here OpenSSL works in memory, and everything around it stays as it is:
a connection counts from its first moment, its handshake has the time of a first request's head
(`header_seconds`), what is written lies in the socket's buffer, whose level holds back the engine, and an end
is said in both languages, TLS's and the socket's.

To `ClientConnection` this is its transport, to the transport it is a protocol. What is written before the
handshake is done (a refusal of one connection too many) waits for it. Whoever speaks plain HTTP, whose first
byte is a letter and never that of a handshake, is told so in plain HTTP.

A connection keeps the context that it began with: a renewed certificate is for those that come later.
"""

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, cast

from torpor_gateway.answers import Refusal
from torpor_gateway.client import ClientConnection

if TYPE_CHECKING:
    from torpor_gateway.server import Server

_RECORD = 16 * 1024  # the most that one record carries
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class TlsConnection(asyncio.Protocol):
    """One connection of a client that speaks TLS."""

    __slots__ = (
        "_client",
        "_deaf",
        "_early",
        "_ends",
        "_heard",
        "_incoming",
        "_outgoing",
        "_plain",
        "_ready",
        "_server",
        "_socket",
        "_tls",
    )

    def __init__(self, server: "Server", context: ssl.SSLContext) -> None:
        self._server = server
        self._client = ClientConnection(server)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._socket: asyncio.Transport | None = None
        self._early: list[bytes] = []  # written before the handshake was done
        self._heard = False  # the client has said something
        self._ready = False  # the handshake is done
        self._plain = False  # the client does not speak TLS
        self._ends = False  # nothing more will be written
        self._deaf = False  # nothing more is of interest

    # --- the socket's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection count before its handshake."""
        self._socket = cast("asyncio.Transport", transport)
        self._client.connection_made(cast("asyncio.BaseTransport", self))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was sent away."""
        self._client.connection_lost(exc)
        self._client.transport = None  # or both would stay until the collector comes round

    def data_received(self, data: bytes) -> None:
        """Bytes of a handshake, or of records."""
        if self._deaf:
            return
        if self._ready:
            self._incoming.write(data)
            self._read()
        elif not self._heard and data[:1] in _LETTERS:
            self._speak_plainly()
        else:
            self._heard = True
            self._incoming.write(data)
            if self._shake_hands():
                self._read()

    def pause_writing(self) -> None:
        """The client is slower than its engine."""
        self._client.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._client.resume_writing()

    # --- TLS ---

    def _shake_hands(self) -> bool:
        """Go on with the handshake; say whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError:
            self._fail()
            return False
        self._ready = True
        early, self._early = self._early, []
        for data in early:
            self.write(data)
        if self._ends:
            self._say_the_end()
        self._flush()
        return True

    def _read(self) -> None:
        """Hand over what the records carry, in one piece: a head and its body are often two records."""
        tls, incoming = self._tls, self._incoming
        parts: list[bytes] = []
        goodbye = False
        try:
            while incoming.pending or tls.pending():
                part: bytes = tls.read(_RECORD)
                if not part:
                    goodbye = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            goodbye = True
        except ssl.SSLError:
            self._fail()
            return
        if self._outgoing.pending:  # new keys, agreed on in passing
            self._flush()
        if parts:
            self._client.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if goodbye:
            self.close()

    def _fail(self) -> None:
        """There is no understanding: say why in TLS's words, if there are any, and go."""
        self._deaf = True
        self._server.refusals[0, "tls_failed"] += 1
        self._flush()
        if self._socket is not None:
            self._socket.close()

    def _flush(self) -> None:
        if self._outgoing.pending and self._socket is not None:
            self._socket.write(self._outgoing.read())

    def _speak_plainly(self) -> None:
        self._plain = True
        if self._ends:  # it was refused before it said a word
            for data in self._early:
                self.write(data)
            self._say_the_end()
        else:
            message = "this port speaks HTTPS; begin the address with https://"
            self._client.misdirected(Refusal(400, "https_required", message))
        self._deaf = True

    def _say_the_end(self) -> None:
        """Say that nothing more comes, and listen on: what is unread at a close would destroy the answer."""
        if self._ready:
            self._deaf = True
            self._unwrap()
        if self._socket is not None and not self._socket.is_closing():
            self._socket.write_eof()

    def _unwrap(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the client's goodbye is not waited for
            self._tls.unwrap()
        self._flush()

    # --- the transport of HTTP's protocol ---

    def write(self, data: bytes) -> None:
        """Send, or keep for after the handshake."""
        sock = self._socket
        if sock is None or sock.is_closing():
            return
        if self._plain:
            sock.write(data)
        elif not self._ready:
            self._early.append(data)
        elif not self._deaf:
            try:
                sent = self._tls.write(data)
                while sent < len(data):
                    sent += self._tls.write(data[sent:])
            except ssl.SSLError:
                self.abort()
                return
            sock.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        """Say that one side can end before the other."""
        return True

    def write_eof(self) -> None:
        """Send no more."""
        if not self._ends:
            self._ends = True
            if self._ready or self._plain:
                self._say_the_end()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._socket is None or self._socket.is_closing()

    def close(self) -> None:
        """Close once the client has taken what was written."""
        sock = self._socket
        if sock is None or sock.is_closing():
            return
        if self._ready and not self._ends:
            self._unwrap()
        self._deaf = True
        sock.close()

    def abort(self) -> None:
        """Close at once."""
        self._deaf = True
        if self._socket is not None:
            self._socket.abort()

    def pause_reading(self) -> None:
        """Read no more for now."""
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._socket is not None:
            self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the levels, in bytes on the wire, at which writing is paused and resumed."""
        if self._socket is not None:
            self._socket.set_write_buffer_limits(high=high, low=low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell of the socket."""
        return self._socket.get_extra_info(name, default) if self._socket is not None else default
