"""Browsers of other origins: what they are told when they ask whether they may.

A page may call the gateway only where the operator of the gateway has named its origin. By default none is
named and no answer carries a word about origins, so that a browser keeps a foreign page out. Engines are
never asked: the client's Origin stays here, because vLLM's own default is to let every origin in.

Credentials in the sense of browsers (cookies, client certificates) are never allowed. An API key that the
page itself puts into a header passes, as any header that it asks for does: the gateway forwards what it would
forward for any client.
"""

import re

from torpor_gateway.settings import SettingsError

_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADER_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,2048}")
_EXPOSED = b"Access-Control-Expose-Headers: Retry-After, x-request-id, x-should-retry\r\n"
_MAX_AGE_SECONDS = 600


class Cors:
    """The origins that may call: `text` is `*`, or origins separated by commas. Raises SettingsError."""

    def __init__(self, text: str) -> None:
        origins = [origin.strip() for origin in text.split(",") if origin.strip()]
        self._all = origins == ["*"]
        if not self._all:
            for origin in origins:
                if not _ORIGIN.fullmatch(origin):
                    rule = (
                        "must be `*` alone, or origins such as https://chat.example.com, separated by commas"
                    )
                    raise SettingsError(f"TORPOR_CORS_ORIGINS: {origin!r}: {rule}")
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def lines(self, origin: bytes) -> bytes:
        """Return the header lines of an answer to a request from `origin` (empty where it names none)."""
        if self._all:
            return b"Access-Control-Allow-Origin: *\r\n" + _EXPOSED if origin else b""
        if not self._origins:
            return b""
        if origin.lower() not in self._origins:
            return b"Vary: Origin\r\n"  # a cache must not give this answer to an origin that is allowed
        return b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\n%b" % (origin, _EXPOSED)

    def preflight(self, origin: bytes, methods: str, requested_headers: bytes) -> bytes:
        """Return the further lines with which a browser's question before the request is answered."""
        if b"Access-Control-Allow-Origin" not in self.lines(origin):
            return b""
        text = b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Max-Age: %d\r\n" % (
            methods.encode(),
            _MAX_AGE_SECONDS,
        )
        if _HEADER_NAMES.fullmatch(requested_headers):
            text += b"Access-Control-Allow-Headers: %b\r\n" % requested_headers
        return text
