"""Downloads: only when asked for, whole and checked or not at all. The server runs on this machine."""

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
import torch

from visiontasks.errors import RunError, UsageError, WeightsError
from visiontasks.io.downloads import cache_folder, download, load_torchvision_state, torchvision_weights
from visiontasks.io.weights import resolve_weights

CONTENT = b"weights" * 50_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Answers(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`; /short-* breaks off, /away-* leads to a foreign address, /none-* does not exist."""

    count = 0

    def do_GET(self):
        type(self).count += 1
        if self.path.startswith("/none"):
            self.send_error(404)
            return
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://example.org/x")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 1000 if self.path.startswith("/short") else None])

    def log_message(self, *arguments):
        return


@pytest.fixture
def server():
    Answers.count = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_row_40_right_hash_is_kept_with_its_full_digest(tmp_path, server):
    url = f"{server}/net-{DIGEST[:8]}.pth?x=1"
    path = download(url, sha_prefix=DIGEST[:8], cache=tmp_path / "new")
    assert path == tmp_path / "new" / f"net-{DIGEST[:8]}.pth"
    assert path.read_bytes() == CONTENT
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{DIGEST}\n"
    assert left_in(path.parent) == [path.name, f"{path.name}.sha256"]
    assert download(url, sha_prefix=DIGEST[:8], cache=tmp_path / "new") == path
    assert Answers.count == 1  # the second came from the cache


def test_row_40_wrong_hash_is_refused_and_nothing_stays(tmp_path, server):
    with pytest.raises(WeightsError) as caught:
        download(f"{server}/net-00000000.pth", sha_prefix="00000000", cache=tmp_path)
    assert str(caught.value) == (
        f"{server}/net-00000000.pth: expected a file whose SHA-256 begins with 00000000, found {DIGEST}; "
        "not kept: try again, or from another network"
    )
    assert left_in(tmp_path) == []


def test_row_40_broken_off_download_leaves_nothing(tmp_path, server):
    with pytest.raises((WeightsError, RunError), match=r"short-1\.pth: "):
        download(f"{server}/short-1.pth", sha_prefix=DIGEST[:8], cache=tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("changed", ["file", "record"])
def test_row_40_a_changed_cache_is_refused(tmp_path, server, changed):
    url = f"{server}/net.pth"
    path = download(url, sha_prefix=DIGEST[:8], cache=tmp_path)
    receipt = tmp_path / "net.pth.sha256"
    if changed == "file":
        path.write_bytes(b"other")
    else:
        receipt.write_text(DIGEST[:8] + "0" * 56)
    with pytest.raises(
        WeightsError, match=rf"{path}: expected SHA-256 {DIGEST[:8]}.*, found .*; delete the file"
    ):
        download(url, sha_prefix=DIGEST[:8], cache=tmp_path)


def test_row_40_a_file_put_into_the_cache_by_hand_is_checked(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(CONTENT)
    assert download("https://example.org/net.pth", sha_prefix=DIGEST[:8], cache=tmp_path) == path
    assert (tmp_path / "net.pth.sha256").read_text() == f"{DIGEST}\n"
    (tmp_path / "other.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"other\.pth: expected SHA-256 00ff00ff as published"):
        download("https://example.org/other.pth", sha_prefix="00ff00ff", cache=tmp_path)


def test_offline_is_one_line_that_says_where_the_file_may_go(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(RunError) as caught:  # nothing listens there any more
        download(f"http://127.0.0.1:{port}/net.pth", sha_prefix="ab", cache=tmp_path)
    message = str(caught.value)
    assert f"http://127.0.0.1:{port}/net.pth: could not be downloaded (" in message
    assert message.endswith(f"go online, or put it at {tmp_path / 'net.pth'}") and "\n" not in message
    assert left_in(tmp_path) == []


def test_answers_other_than_a_file_are_one_line(tmp_path, server):
    with pytest.raises(RunError, match=r"none-1\.pth: could not be downloaded \(Not Found\)"):
        download(f"{server}/none-1.pth", sha_prefix="ab", cache=tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="could not be downloaded"):
        download(f"{server}/net.pth", sha_prefix="ab", cache=tmp_path / "file")


@pytest.mark.parametrize("url", ["http://example.org/x.pth", "file:///etc/passwd", "ftp://x/y", "net.pth"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(UsageError, match=f"expected an https address, found '{url}'"):
        download(url, sha_prefix="ab", cache=tmp_path)


def test_a_redirection_to_a_foreign_address_is_refused(tmp_path, server, monkeypatch):
    class Elsewhere:
        url = "http://example.org/x"

        def __enter__(self):
            return self

        def __exit__(self, *fault):
            return None

    monkeypatch.setattr(urllib.request, "urlopen", lambda *arguments, **options: Elsewhere())
    with pytest.raises(UsageError, match=r"an https address, found 'http://example\.org/x'"):
        download(f"{server}/away-1.pth", sha_prefix="ab", cache=tmp_path)
    assert left_in(tmp_path) == []


def test_cache_folder_by_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONTASKS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VISIONTASKS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "visiontasks"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "visiontasks"


def test_torchvision_names_are_looked_up_without_the_network():
    found = resolve_weights("torchvision:resnet18")
    assert found == torchvision_weights("torchvision:resnet18")
    assert (found.model, found.sha_prefix) == ("resnet18", "f37072fd")
    assert found.url.startswith("https://") and found.url.endswith("resnet18-f37072fd.pth")
    assert len(found.weights.meta["categories"]) == 1000
    first = torchvision_weights("torchvision:resnet50.IMAGENET1K_V1")
    assert first.url != torchvision_weights("torchvision:resnet50").url


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt18", "unknown torchvision model 'resnt18'; did you mean 'resnet18'? "),
        ("resnet50.V1", "unknown weights of resnet50 'V1'; choices: DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2"),
        ("", "unknown torchvision model ''; "),
        ("quantized_resnet18", "expected weights with a hash in their file name, found https://"),
    ],
)
def test_unknown_torchvision_names(name, message):
    with pytest.raises(UsageError) as caught:
        torchvision_weights(f"torchvision:{name}")
    assert str(caught.value).startswith(message)


def test_torchvision_state_is_loaded_as_tensors_only(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"fc.weight": torch.ones(2, 2)}, path)
    state = load_torchvision_state(path)
    assert state.keys() == {"fc.weight"} and torch.equal(state["fc.weight"], torch.ones(2, 2))
    for content, found in (
        (torch.ones(1), "a Tensor"),
        ({"a": 1}, "a dict of 1"),
        ({1: torch.ones(1)}, "a dict of 1"),
        ({}, "a dict of 0"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=rf"net\.pth: expected named tensors, found {found}"):
            load_torchvision_state(path)
    path.write_bytes(b"\x80\x02garbage")
    with pytest.raises(WeightsError, match=r"net\.pth: expected a PyTorch file of tensors, found: "):
        load_torchvision_state(path)
    with pytest.raises(WeightsError, match=r"none\.pth: expected a PyTorch file of tensors, found: "):
        load_torchvision_state(tmp_path / "none.pth")


def test_row_50_tests_reach_no_network():
    for attempt in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.create_connection(("example.org", 80), timeout=1),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
        lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
        lambda: urllib.request.urlopen("https://example.org", timeout=1),
    ):
        with pytest.raises((RuntimeError, OSError)) as caught:
            attempt()
        refused = "tests use no network" in str(caught.value) or "refused" in str(caught.value)
        assert refused, caught.value


def test_row_50_importing_the_package_makes_no_connection():
    """Every module of the package, in a process in which any socket is an error."""
    program = """
import socket, sys
class Refused(socket.socket):
    def __init__(self, *arguments, **options):
        raise SystemExit("a socket was made")
socket.socket = Refused
import importlib.util, pkgutil, visiontasks
modules = pkgutil.walk_packages(visiontasks.__path__, "visiontasks.")
names = [module.name for module in modules if not module.name.endswith("__main__")]
for name in names:
    if name != "visiontasks.backbones.timm_nets" or importlib.util.find_spec("timm"):  # an extra
        importlib.import_module(name)
print(len(names))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
