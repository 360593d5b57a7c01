"""What is taken as a certificate, what is refused and with which words, and what a renewal changes."""

import logging
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from torpor_gateway.certificate import Certificate, CertificateError, validity
from torpor_gateway.settings import Settings, SettingsError

from tests.authority import CERTIFICATE, KEY, Authority
from tests.unit.gateway.test_keys import Secret

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def secret(tmp_path):
    return Secret(tmp_path / "tls")


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (-DAY, 90 * DAY),
        (-DAY, timedelta(hours=1)),
        (-400 * DAY, -DAY),  # it has ended
        (DAY, 2 * DAY),
        (-DAY, 365 * 60 * DAY),  # beyond 2049 times are written otherwise
        (-365 * 60 * DAY, 365 * 7000 * DAY),
    ],
)
def test_its_times_are_those_that_the_certificate_says(authority, secret, begins, ends):
    issued = authority.issue(begins, ends)
    assert tuple(map(moment, validity(issued.der))) == (issued.begins, issued.ends)
    secret.write(**issued.entries)
    pair = Certificate(secret.root).load()
    assert (moment(pair.begins), moment(pair.ends)) == (issued.begins, issued.ends)


def test_only_the_first_certificate_counts(authority, secret):
    soon, late = authority.issue(ends=2 * DAY), authority.issue(ends=DAY)
    secret.write(**(soon.entries | {CERTIFICATE: "# bag\n" + soon.certificate + late.certificate}))
    assert moment(Certificate(secret.root).load().ends) == soon.ends


@pytest.mark.parametrize("damage", [lambda der: der[:20], lambda der: b"\x30\x03" + der, lambda _: b""])
def test_what_is_no_certificate_has_no_times(authority, damage):
    with pytest.raises((ValueError, IndexError)):
        validity(damage(authority.issue().der))


def encrypted(key: str) -> str:
    from cryptography.hazmat.primitives import serialization as s

    loaded = s.load_pem_private_key(key.encode(), None)
    locked = s.BestAvailableEncryption(b"secret")
    return loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, locked).decode()


def weak() -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2040, 1, 1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(s.Encoding.PEM).decode()
    bare = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()
    return {CERTIFICATE: pem, KEY: bare}


def without(entries, name):
    return {key: text for key, text in entries.items() if key != name}


BROKEN = {
    "no certificate": (lambda good, _: without(good, CERTIFICATE), "tls.crt: is missing"),
    "no key": (lambda good, _: without(good, KEY), "tls.key: is missing"),
    "the key of another": (
        lambda good, other: good | {KEY: other[KEY]},
        "tls.key: does not belong to tls.crt",
    ),
    "swapped": (lambda good, _: {CERTIFICATE: good[KEY], KEY: good[CERTIFICATE]}, "tls.crt: holds no cert"),
    "DER": (lambda good, _: good | {CERTIFICATE: "0\x82\x01"}, "tls.crt: holds no certificate; .* in PEM"),
    "a key that is none": (lambda good, _: good | {KEY: "hunter2"}, "tls.key: holds no private key"),
    "a torn certificate": (
        lambda good, _: good | {CERTIFICATE: good[CERTIFICATE][:200] + good[CERTIFICATE][300:]},
        r"tls.crt or tls.key: cannot be understood \(\w+\); write both",
    ),
    "a torn key": (
        lambda good, _: good | {KEY: good[KEY][:90] + good[KEY][110:]},
        r"cannot be understood \(\w+\); write both",
    ),
    "an encrypted key": (lambda good, _: good | {KEY: encrypted(good[KEY])}, "tls.key: is encrypted; store"),
    "too weak": (lambda *_: weak(), r"tls.crt: is too weak \(EE_KEY_TOO_SMALL\); issue one"),
    "too large": (lambda good, _: good | {CERTIFICATE: good[CERTIFICATE] + "x" * (1 << 20)}, "larger than"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pair_is_refused_by_name_and_changes_nothing(authority, secret, caplog, name):
    caplog.set_level(logging.INFO)
    good, other = authority.issue(), authority.issue()
    breaks, rule = BROKEN[name]
    broken = breaks(good.entries, other.entries)
    secret.write(**broken)
    certificate = Certificate(secret.root)
    with pytest.raises(CertificateError, match=rule):
        certificate.load()
    with pytest.raises(RuntimeError):
        _ = certificate.pair

    secret.write(**good.entries)
    certificate.check()
    before = certificate.pair
    secret.write(**broken)
    caplog.clear()
    certificate.check()
    certificate.check()
    assert certificate.pair is before
    assert (certificate.stale, certificate.failures) == (True, 2)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "once is enough"
    assert told[0].startswith("the certificate was not taken, the last good one stays: ")
    assert not any(line in told[0] for line in good.key.splitlines()[1:-1])

    secret.write(**other.entries)
    certificate.check()
    assert certificate.pair is not before
    assert (certificate.stale, certificate.failures) == (False, 2)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(CertificateError, match=r"cannot be read: No such file .* kubernetes.io/tls"):
        Certificate(tmp_path / "nowhere").load()
    (tmp_path / "file").write_text("x")
    with pytest.raises(CertificateError):
        Certificate(tmp_path / "file").load()


def test_a_folder_of_files_is_read_again_when_one_changes(authority, tmp_path):
    first, second = authority.issue(), authority.issue(ends=10 * DAY)
    for name, text in first.entries.items():
        (tmp_path / name).write_text(text)
    certificate = Certificate(tmp_path)
    before = certificate.load()
    certificate.check()
    assert certificate.pair is before, "nothing has changed"
    for name, text in second.entries.items():
        (tmp_path / name).write_text(text)
    certificate.check()
    assert moment(certificate.pair.ends) == second.ends


def test_one_that_ended_is_taken_and_said(authority, secret, caplog):
    caplog.set_level(logging.INFO)
    for begins, ends, words in ((-2, -1, "ended at"), (1, 2, "begins at"), (-1, 1, "holds until")):
        secret.write(**authority.issue(begins * DAY, ends * DAY).entries)
        Certificate(secret.root).load()
        record = caplog.records[-1]
        assert words in record.getMessage()
        assert (record.levelno == logging.WARNING) == (words != "holds until")


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
def test_the_oldest_version_is_the_settings(authority, secret, minimum):
    secret.write(**authority.issue().entries)
    context = Certificate(secret.root, minimum).load().context
    assert context.minimum_version.name == f"TLSv{minimum.replace('.', '_')}"
    assert context.options & ssl.OP_NO_RENEGOTIATION
    names = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert names
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in names)


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        ({"TORPOR_TLS_LISTEN": ":8443"}, "TORPOR_TLS_LISTEN=':8443': needs a certificate"),
        ({"TORPOR_TLS_FOLDER": "/tls"}, "TORPOR_TLS_FOLDER='/tls': no port would show"),
        ({"TORPOR_TLS_MIN_VERSION": "1.1"}, "TORPOR_TLS_MIN_VERSION='1.1': must be one of 1.2, 1.3"),
    ],
)
def test_settings_that_need_each_other_are_asked_for(environment, rule):
    with pytest.raises(SettingsError, match=rule):
        Settings.load(environment)
