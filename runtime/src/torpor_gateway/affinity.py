"""What holds a request to a pod: its session, where the client names one, else how its prompt begins."""

import re
from typing import Any

from torpor.dispatch import identity, salt_of, session_identity

from torpor_gateway.beginning import beginning
from torpor_gateway.request import RequestHead


class Affinity:
    """Finds the identity of requests. `session_header`: a header's name; empty: there are no sessions."""

    def __init__(self, session_header: str) -> None:
        name = re.escape(session_header.strip().encode("latin-1", "replace"))
        # In the lines that are forwarded, each of which ends with CR LF.
        self._session = re.compile(rb"(?:\A|\r\n)%b:[ \t]*([^\r\n]{1,512})" % name, re.IGNORECASE)
        self._sessions = bool(name)
        self._salts: dict[str, int] = {}

    def of(self, head: RequestHead, asked: dict[str, Any] | None, model: str) -> tuple[int, ...]:
        """Return the identity of a request, empty where it has none. `asked`: its JSON object."""
        salt = self._salts.get(model)
        if salt is None:
            if len(self._salts) > 10_000:
                self._salts.clear()
            salt = self._salts[model] = salt_of(model)
        session = head.session
        if session is None:
            session = self.session(head)
        if session:
            return session_identity(session, salt)
        return identity(beginning(asked), salt) if asked else ()

    def session(self, head: RequestHead) -> bytes:
        """Return the session that a head names, empty where it names none, and note it there."""
        found = self._session.search(head.forward) if self._sessions else None
        head.session = found[1].strip() if found else b""
        return head.session
