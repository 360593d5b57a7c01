"""What the local cluster writes without a tool: stub libraries that the linker accepts, image archives,
configuration.
"""

import ctypes
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from e2e.cluster import render
from e2e.cluster.elfstub import read_linkage, write_stub
from e2e.cluster.oci import image, layer_from, layer_of_file, write_archive


def test_stub_is_loaded_and_defines_its_functions(tmp_path: Path) -> None:
    names = [f"absent_{n}" for n in range(300)]
    write_stub(tmp_path / "libabsent.so", names)
    library = ctypes.CDLL(str(tmp_path / "libabsent.so"))
    assert all(hasattr(library, name) for name in names)
    assert not hasattr(library, "absent_300")


def test_stub_stops_the_process_that_calls_it(tmp_path: Path) -> None:
    write_stub(tmp_path / "libabsent.so", ["absent"])
    code = f"import ctypes; ctypes.CDLL({str(tmp_path / 'libabsent.so')!r}).absent()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -4  # SIGILL


def test_linkage_of_a_real_library_is_read() -> None:
    libc = (
        Path(f"/proc/{__import__('os').getpid()}/maps").read_text().split("libc.so.6")[0].split()[-1]
        + "libc.so.6"
    )
    found = read_linkage(Path(libc))
    assert "malloc" in found.defined
    assert "malloc" not in found.missing
    with pytest.raises(ValueError, match="not a 64-bit"):
        read_linkage(Path(__file__))


def test_layers_do_not_depend_on_times_and_owners(tmp_path: Path) -> None:
    digests = []
    for time in (1, 2_000_000):
        tree = tmp_path / str(time)
        (tree / "folder").mkdir(parents=True)
        file = tree / "folder" / "file"
        file.write_text("content")
        __import__("os").utime(file, (time, time))
        digests.append(layer_from([(tree, "/opt")], tmp_path / f"{time}.tar").digest)
    assert digests[0] == digests[1]


def test_archive_holds_what_the_manifest_promises() -> None:
    made = image("localhost/x:1", [layer_of_file("/a", b"a"), layer_of_file("/b", b"b")], {"User": "1"})
    target = io.BytesIO()
    write_archive(made, target)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        content = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    described = json.loads(content["index.json"])["manifests"][0]
    assert described["digest"] == made.digest
    manifest = json.loads(content[f"blobs/sha256/{made.digest.removeprefix('sha256:')}"])
    for part in (manifest["config"], *manifest["layers"]):
        assert len(content[f"blobs/sha256/{part['digest'].removeprefix('sha256:')}"]) == part["size"]


def test_nothing_of_the_cluster_listens_on_all_addresses(tmp_path: Path) -> None:
    words = render.etcd(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:2")
    words += render.apiserver(tmp_path, "http://127.0.0.1:1", "10.0.0.1", 6443, "10.1.0.0/20")
    assert "0.0.0.0" not in " ".join(words)
    assert "--bind-address=10.0.0.1" in words
    kubelet = json.loads(render.kubelet_config(tmp_path, tmp_path))
    assert kubelet["address"] == "10.213.0.1"
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}


def test_name_service_without_resolvers_of_the_machine_forwards_nothing(tmp_path: Path) -> None:
    assert "forward" not in render.corefile(tmp_path, None)
    assert "forward . /etc/resolv.conf" in render.corefile(tmp_path, Path("/etc/resolv.conf"))
