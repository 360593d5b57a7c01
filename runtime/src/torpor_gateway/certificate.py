"""The certificate that the gateway shows: read from a folder, held ready, read again when it is renewed.

The folder is what a kubelet mounts of a Secret of the type kubernetes.io/tls: `tls.crt`, the certificate and
behind it the intermediates that clients do not have, and `tls.key`, its private key. Each reading makes a
context of its own, and only a whole one takes the place of the old: a connection keeps the context that it
began with, so a renewal breaks no stream, and a pair that is broken changes nothing. The log and the metrics
say so, and the reading is tried again. A gateway that has never had a pair does not start.

An expired certificate is taken all the same: clients refuse it and say why, which is clearer than a gateway
that is gone, and a clock that is wrong would otherwise stop all gateways at once. What counts for the metrics
is the first certificate alone: an intermediate that has ended may have been replaced by a cross-signed one.

The standard library tells of a certificate of one's own only whether it fits its key, so its times are read
from its DER (RFC 5280, section 4.1): five elements in, no more.
"""

import asyncio
import logging
import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from torpor_gateway import mounted

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"  # the entries of a Secret of the type kubernetes.io/tls
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MAX_BYTES = 1 << 20  # as a Secret can have
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"  # of TLS 1.2: those that TLS 1.3 would choose, too
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERAL_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


class CertificateError(ValueError):
    """A pair that cannot be used. The message names the file, the rule and the next step."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, ready for connections. Times are UTC, seconds since 1970."""

    context: ssl.SSLContext
    begins: float
    ends: float


class Certificate:
    """The pair that holds now. `stale` while a later one could not be taken; `failures` counts readings."""

    def __init__(self, folder: Path, minimum: str = "1.2") -> None:
        self._folder = folder
        self._minimum = minimum
        self._version: object = None
        self._pair: Pair | None = None
        self.stale = False
        self.failures = 0

    @property
    def pair(self) -> Pair:
        """The last good pair. Raises RuntimeError before the first was read."""
        if self._pair is None:
            raise RuntimeError("no certificate was read yet")
        return self._pair

    def load(self) -> Pair:
        """Read the pair now, for connections to come. Raises CertificateError, nothing changed."""
        try:
            version = mounted.version(self._folder)
            pair = read(mounted.current(self._folder), self._minimum)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CertificateError(
                f"cannot be read: {reason}; it has to be a folder with {CERTIFICATE} and {KEY}, "
                "as a Secret of the type kubernetes.io/tls is mounted"
            ) from None
        self._pair, self._version, self.stale = pair, version, False
        until = datetime.fromtimestamp(pair.ends, UTC).isoformat(timespec="seconds")
        now = time.time()
        if pair.ends <= now:
            log.warning("the certificate in %s ended at %s: clients refuse it; renew it", self._folder, until)
        elif pair.begins > now:
            since = datetime.fromtimestamp(pair.begins, UTC).isoformat(timespec="seconds")
            log.warning(
                "the certificate in %s begins at %s: clients refuse it until then", self._folder, since
            )
        else:
            log.info("the certificate in %s holds until %s", self._folder, until)
        return pair

    async def follow(self) -> None:
        """Read the pair again whenever it changes, until cancelled."""
        while True:
            await asyncio.sleep(mounted.LOOK_SECONDS)
            self.check()

    def check(self) -> None:
        """Read the pair again if it has changed, or could not be read the last time."""
        try:
            if not self.stale and mounted.version(self._folder) == self._version:
                return
            self.load()
        except (OSError, CertificateError) as error:
            self.failures += 1
            if not self.stale:
                log.error("the certificate was not taken, the last good one stays: %s", error)
            self.stale = True


def read(folder: Path, minimum: str) -> Pair:
    """Read the pair in `folder`, for TLS from version `minimum` on. Raises CertificateError, OSError."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    for file in (certificate, key):
        if not file.is_file():
            raise CertificateError(
                f"{file.name}: is missing; a Secret of the type kubernetes.io/tls has both files"
            )
        if file.stat().st_size > _MAX_BYTES:
            raise CertificateError(
                f"{file.name}: is larger than {_MAX_BYTES} bytes, more than a Secret can have"
            )
    found = _FIRST.search(certificate.read_text(encoding="latin-1"))
    if found is None:
        raise CertificateError(
            f"{CERTIFICATE}: holds no certificate; it has to be in PEM (BEGIN CERTIFICATE)"
        )
    if "PRIVATE KEY-----" not in key.read_text(encoding="latin-1"):
        raise CertificateError(f"{KEY}: holds no private key; it has to be in PEM (BEGIN PRIVATE KEY)")
    context = _context(minimum)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        begins, ends = validity(ssl.PEM_cert_to_DER_cert(found[0]))
    except CertificateError:
        raise
    except ssl.SSLError as error:
        raise CertificateError(_why(error)) from None
    except (ValueError, IndexError):  # not what OpenSSL would have taken either
        raise CertificateError(
            f"{CERTIFICATE}: cannot be understood; write it again from its source"
        ) from None
    return Pair(context, begins, ends)


def _context(minimum: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that writing never has to wait for reading
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Answer OpenSSL, which would ask the terminal. Raises CertificateError."""
    raise CertificateError(
        f"{KEY}: is encrypted; store the key without a passphrase, a gateway cannot be asked"
    )


def _why(error: ssl.SSLError) -> str:
    """Say what OpenSSL means, without anything of the files."""
    reason = error.reason or "UNKNOWN"
    if reason == "KEY_VALUES_MISMATCH":
        return f"{KEY}: does not belong to {CERTIFICATE}; store both of the same issue, the certificate first"
    if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_MD_TOO_WEAK"):
        return f"{CERTIFICATE}: is too weak ({reason}); issue one with RSA 2048, EC or better"
    return f"{CERTIFICATE} or {KEY}: cannot be understood ({reason}); write both again from their source"


def validity(der: bytes) -> tuple[float, float]:
    """Return when a certificate begins and ends, UTC, seconds since 1970. Raises ValueError, IndexError."""
    _, at, _ = _element(der, 0, _SEQUENCE)  # Certificate
    _, at, _ = _element(der, at, _SEQUENCE)  # tbsCertificate
    tag, _, end = _element(der, at)
    skipped = (0, 1, 2) if tag == _VERSION else (1, 2)  # serialNumber, signature, issuer, behind a version
    for _ in skipped:
        _, _, end = _element(der, end)
    _, at, _ = _element(der, end, _SEQUENCE)  # validity
    tag, begin, end = _element(der, at)
    begins = _moment(tag, der[begin:end])
    tag, begin, end = _element(der, end)
    return begins, _moment(tag, der[begin:end])


def _element(der: bytes, at: int, wanted: int | None = None) -> tuple[int, int, int]:
    """Return the tag of the element at `at`, and where its content begins and ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & 0x80:  # the low bits say how many bytes the length has
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    if (wanted is not None and tag != wanted) or begin + length > len(der):
        raise ValueError("not the structure of a certificate")
    return tag, begin, begin + length


def _moment(tag: int, text: bytes) -> float:
    if tag not in (_UTC_TIME, _GENERAL_TIME):
        raise ValueError("not a time")
    digits = text.decode("ascii").removesuffix("Z")
    if tag == _UTC_TIME:  # of 1950 to 2049
        digits = ("19" if digits >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
