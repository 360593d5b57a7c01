"""API keys as they are written down: what is understood, what is refused, and that no message shows a key."""

import contextlib
import hashlib
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway import hashkey
from torpor_gateway.gate import Gate
from torpor_gateway.keys import ApiKey, KeysError, digest, read_document, read_entries
from torpor_gateway.keystore import KeyStore

KEY = "sk-0123456789abcdef"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
OTHER = hashlib.sha256(b"sk-another-key-of-ours").hexdigest()


def one(text, name="team"):
    (key,) = read_entries({name: text})
    return key


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY + "\n",
        f'"{KEY}"',
        f"sha256:{HASH}",
        f"sha256:{HASH.upper()}\n",
        f'sha256: "{HASH}"',
        f"key: {KEY}",
        json.dumps({"sha256": [HASH]}),
        json.dumps({"key": KEY}, separators=(",", ":")),
    ],
)
def test_a_key_may_be_written_plain_or_hashed_short_or_long(text):
    assert one(text) == ApiKey("team", (bytes.fromhex(HASH),))
    assert bytes.fromhex(HASH) == digest(KEY.encode())


def test_an_entry_has_models_limits_and_a_priority():
    key = one(
        f"sha256: ['{HASH}', '{OTHER}']\nmodels: [llm, team-a/*]\nconcurrentRequests: 8\n"
        "requestsPerMinute: 600\ntokensPerMinute: 200000\npriority: batch\n",
        "team.yaml",
    )
    assert (key.name, key.digests) == ("team", (bytes.fromhex(HASH), bytes.fromhex(OTHER)))
    assert (key.concurrent_requests, key.requests_per_minute, key.tokens_per_minute) == (8, 600, 200000)
    assert key.batch


@pytest.mark.parametrize(
    ("patterns", "names", "may"),
    [
        (["llm"], ["llm", "a/llm"], True),
        (["llm"], ["a/llm"], False),  # another namespace's model, whose bare name belongs to somebody else
        (["a/llm"], ["llm", "a/llm"], True),
        (["a/*"], ["a/x"], True),
        (["a/*"], ["b/x", "x"], False),
        (["*/llm"], ["b/llm"], True),
        (["ll*"], ["llm"], True),
        (["ll*"], ["ll/m"], False),
        (["*"], ["b/x"], True),
        (["a.b/x"], ["aXb/x"], False),
        (["a", "b/*"], ["b/c"], True),
        (["llm"], [], False),
    ],
)
def test_models_are_patterns_in_which_a_star_stays_within_its_part(patterns, names, may):
    assert one(json.dumps({"key": KEY, "models": patterns})).may_use(names) is may


def test_without_models_every_model_may_be_used():
    assert one(KEY).may_use(["whatever/x"])


SECRET = "sk-this-must-never-be-shown"
BAD = {
    "short": ("short", "16 to 512 visible ASCII"),
    "key: 123456789012345678": ("123456789012345678", "quote it"),
    f"{SECRET} x: [": (SECRET, "not YAML (line 1)"),
    f"{SECRET}: {SECRET}": (SECRET, "1 fields that are none"),
    f"[{SECRET}]": (SECRET, "must be an object"),
    f"sha256: {SECRET}": (SECRET, "64 hex digits"),
    f"sha256: {HASH[:-1]}": (HASH[:-1], "64 hex digits"),
    f"{{sha256: '{HASH}', key: {SECRET}}}": (SECRET, "either sha256 or key"),
    "models: [a]": ("[a]", "either sha256 or key"),
    "": ("''", "must be an object"),
    "sha256: []": ("[]", "up to 8"),
    f"{{key: {SECRET}, requestsPerMinute: 0}}": (SECRET, "team.requestsPerMinute: must be a whole number"),
    f"{{key: {SECRET}, concurrentRequests: true}}": (SECRET, "team.concurrentRequests: must be"),
    f"{{key: {SECRET}, tokensPerMinute: 1.5}}": (SECRET, "team.tokensPerMinute: must be"),
    f"{{key: {SECRET}, priority: high}}": (SECRET, "team.priority: must be one of interactive, batch"),
    f"{{key: {SECRET}, models: llm}}": (SECRET, "team.models: must be a list"),
    f"{{key: {SECRET}, models: []}}": (SECRET, "team.models: must be a list"),
    f"{{key: {SECRET}, models: ['a b']}}": (SECRET, "team.models: must be a list"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named_and_no_secret_is_shown(text):
    secret, words = BAD[text]
    with pytest.raises(KeysError) as raised:
        one(text)
    assert str(raised.value).startswith("team")
    assert words in str(raised.value)
    assert secret not in str(raised.value)


def test_one_key_has_one_name_and_one_name_one_key():
    with pytest.raises(KeysError, match=r"^b: is the same key as a"):
        read_entries({"a": KEY, "b": f"sha256:{HASH}"})
    with pytest.raises(KeysError, match=r"a is there twice"):
        read_entries({"a": KEY, "a.yaml": f"sha256:{OTHER}"})
    with pytest.raises(KeysError, match="must be a name"):
        read_document(f"keys: {{'a b': {KEY}}}")


def test_a_file_has_all_keys_under_their_names():
    text = f"keys:\n  plain: {KEY}\n  batch: {{sha256: '{OTHER}', priority: batch}}\n"
    assert [(key.name, key.batch) for key in read_document(text)] == [("plain", False), ("batch", True)]
    for bad in ("", "keys: []", "keyz: {}", f"- {KEY}"):
        with pytest.raises(KeysError, match="mapping"):
            read_document(bad)


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text):
    for read in (read_document, lambda it: read_entries({"a": it})):
        with contextlib.suppress(KeysError):
            read(text)


# --- hash-key ---------------------------------------------------------------------------------------


def test_hash_key_prints_an_entry_that_is_that_key(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    assert hashkey.main([]) == 0
    out, err = capsys.readouterr()
    assert one(out) == ApiKey("team", (digest(KEY.encode()),))
    assert KEY not in out + err
    uncommented = re.sub("(?m)^# ", "", out)
    assert one(uncommented).requests_per_minute == 600


def test_hash_key_makes_a_new_one_and_shows_it_once(capsys):
    assert hashkey.main(["--new"]) == 0
    out, err = capsys.readouterr()
    key = err.split()[-1]
    assert len(key) > 40
    assert one(out).digests == (digest(key.encode()),)


@pytest.mark.parametrize(
    "text", ["", "short", "with a space in the middle", "x" * 600, "ünicode-key-0123456789"]
)
def test_hash_key_refuses_what_is_no_key(monkeypatch, capsys, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    assert hashkey.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "16 to 512" in err


# --- the store --------------------------------------------------------------------------------------


class Secret:
    """A mounted Secret, changed as a kubelet changes it: a new folder, then one symlink swung over."""

    def __init__(self, root):
        self.root, self.version = root, 0
        root.mkdir()

    def write(self, **entries):
        self.version += 1
        folder = self.root / f"..{self.version}"
        folder.mkdir()
        for name, text in entries.items():
            (folder / name).write_text(text)
        swing = self.root / "..data_tmp"
        swing.symlink_to(folder.name)
        old = (self.root / "..data").resolve() if self.version > 1 else None
        swing.replace(self.root / "..data")
        for name in entries:
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"..data/{name}")
        for path in list(self.root.iterdir()):
            if not path.name.startswith("..") and path.name not in entries:
                path.unlink()
        if old is not None:
            for path in old.iterdir():
                path.unlink()
            old.rmdir()


@pytest.fixture
def secret(tmp_path):
    return Secret(tmp_path / "keys")


@pytest.fixture
def gate():
    return Gate(lambda: 0.0)


def names(gate):
    return sorted(gate.states)


def test_a_rotated_secret_is_taken_whole(secret, gate):
    secret.write(a=KEY, b=f"sha256:{OTHER}")
    store = KeyStore(secret.root, gate)
    assert store.load() == 2
    assert (names(gate), gate.open) == (["a", "b"], False)
    secret.write(a=f"sha256:{OTHER}")
    store.check()
    assert names(gate) == ["a"]
    assert gate.states["a"].key.digests == (bytes.fromhex(OTHER),)
    state = gate.states["a"]
    store.check()
    assert gate.states["a"] is state, "what has not changed is not read again"


def test_bad_keys_keep_the_last_good_ones_and_say_so_once(secret, gate, caplog):
    secret.write(a=KEY)
    store = KeyStore(secret.root, gate)
    store.load()
    secret.write(a=KEY, b=f"key: {SECRET}\nrequestsPerMinute: x")
    for _ in range(3):
        store.check()
    assert (names(gate), gate.stale, gate.failures) == (["a"], True, 3)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "the last good ones stay: b.requestsPerMinute: must be" in told[0]
    assert SECRET not in caplog.text
    secret.write(a=KEY, b=f"key: {SECRET}")
    store.check()
    assert (names(gate), gate.stale) == (["a", "b"], False)


def test_a_secret_that_is_gone_keeps_the_last_good_keys(secret, gate):
    secret.write(a=KEY)
    store = KeyStore(secret.root, gate)
    store.load()
    secret.root.rename(secret.root.with_name("away"))
    store.check()
    assert (names(gate), gate.stale) == (["a"], True)
    secret.root.with_name("away").rename(secret.root)
    store.check()
    assert (names(gate), gate.stale) == (["a"], False)


def test_the_last_key_can_be_taken_away(secret, gate, caplog):
    secret.write(a=KEY)
    store = KeyStore(secret.root, gate)
    store.load()
    secret.write()
    store.check()
    assert (names(gate), gate.open) == ([], False)
    assert "every request is refused" in caplog.text


def test_a_file_and_a_plain_folder_are_read_again_too(tmp_path, gate):
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys: {{a: {KEY}}}")
    store = KeyStore(path, gate)
    store.load()
    path.write_text(f"keys: {{a: {KEY}, bee: 'sha256:{OTHER}'}}")
    store.check()
    assert names(gate) == ["a", "bee"]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text(KEY)
    store = KeyStore(folder, gate)
    store.load()
    (folder / "c").write_text(f"sha256:{OTHER}")
    store.check()
    assert names(gate) == ["a", "c"]


def test_keys_that_were_never_good_are_an_error_that_shows_none(secret, gate, tmp_path):
    with pytest.raises(KeysError, match="cannot be read: No such file"):
        KeyStore(tmp_path / "none", gate).load()
    secret.write(a=f"{SECRET}: [")
    with pytest.raises(KeysError) as raised:
        KeyStore(secret.root, gate).load()
    assert SECRET not in str(raised.value)
    (tmp_path / "latin").write_bytes(b"keys: {a: \xff}")
    with pytest.raises(KeysError, match="not UTF-8"):
        KeyStore(tmp_path / "latin", gate).load()
    assert gate.open, "nothing changed"
