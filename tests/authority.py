"""An authority of the tests' own, which issues certificates as a cluster's does: a Secret's two entries.

Keys are elliptic, since an RSA key takes a second to find and tests issue many.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import trustme

NAME = "gateway.test"
CERTIFICATE, KEY = "tls.crt", "tls.key"


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in PEM. Times are whole seconds of UTC."""

    certificate: str
    key: str
    begins: datetime
    ends: datetime

    @property
    def entries(self) -> dict[str, str]:
        """The entries of a Secret of the type kubernetes.io/tls."""
        return {CERTIFICATE: self.certificate, KEY: self.key}

    @property
    def der(self) -> bytes:
        """The certificate as a client sees it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate)


class Authority:
    """Issues certificates for `gateway.test` and 127.0.0.1, and makes clients that trust them."""

    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.pem = self._ca.cert_pem.bytes().decode()

    def issue(
        self,
        begins: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=90),
        more: tuple[str, ...] = (),
    ) -> Issued:
        now = datetime.now(UTC).replace(microsecond=0)
        made = self._ca.issue_cert(
            *(NAME, "127.0.0.1", *more),
            not_before=now + begins,
            not_after=now + ends,
            key_type=trustme.KeyType.ECDSA,
        )
        chain = "".join(pem.bytes().decode() for pem in made.cert_chain_pems)
        return Issued(chain, made.private_key_pem.bytes().decode(), now + begins, now + ends)

    def client(self, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return what a client that trusts this authority alone connects with."""
        context = ssl.create_default_context(cadata=self.pem)
        if newest is not None:
            context.maximum_version = newest
        return context
