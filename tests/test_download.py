import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmaavi.download import download
from mmaavi.errors import InputError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Unreliable(BaseHTTPRequestHandler):
    """Serves CONTENT the way the path says; counts requests."""

    requests: list[str] = []

    def do_GET(self):
        self.requests.append(self.path)
        kind = self.path.rsplit("/", 1)[-1]
        if kind == "missing" or (kind == "flaky" and len(self.requests) < 3):
            self.send_error(404 if kind == "missing" else 500)
            return
        body = CONTENT[::-1] if kind == "wrong" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "broken" or (kind == "stutter" and len(self.requests) < 2):
            self.wfile.write(body[: len(body) // 2])  # then the connection closes
            return
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture
def server(monkeypatch):
    Unreliable.requests.clear()
    monkeypatch.setattr("pooch.core.time.sleep", lambda _seconds: None)  # the pauses between tries
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Unreliable)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(("kind", "n_requests"), [("sound", 1), ("stutter", 2), ("flaky", 3)])
def test_a_file_arrives_whole_after_some_tries(server, tmp_path, kind, n_requests):
    path = download("set/file.bin", tmp_path, SHA256, url=f"{server}/{kind}")
    assert path.read_bytes() == CONTENT
    assert len(Unreliable.requests) == n_requests
    assert files(tmp_path) == ["set/file.bin"]


@pytest.mark.parametrize(
    ("kind", "message"), [("broken", "could not be downloaded"), ("missing", "404"), ("wrong", "another checksum")]
)
def test_a_file_that_cannot_be_had_leaves_nothing(server, tmp_path, kind, message):
    with pytest.raises(InputError, match=message) as caught:
        download("set/file.bin", tmp_path, SHA256, url=f"{server}/{kind}", retries=2)
    assert "set/file.bin" in str(caught.value)
    assert f"{server}/{kind}" in str(caught.value)
    assert len(Unreliable.requests) == 3
    assert files(tmp_path) == []


def test_a_server_that_is_not_there_says_how_to_use_a_mirror(tmp_path):
    with pytest.raises(InputError, match="--config mirror="):
        download("file.bin", tmp_path, SHA256, url="http://127.0.0.1:9/file.bin", retries=0)


def test_a_mirror_folder_replaces_the_address(tmp_path):
    (tmp_path / "mirror/set").mkdir(parents=True)
    (tmp_path / "mirror/set/file.bin").write_bytes(CONTENT)
    path = download("set/file.bin", tmp_path / "to", SHA256, url="http://127.0.0.1:9/x", mirror=str(tmp_path / "mirror"))
    assert path.read_bytes() == CONTENT


def test_a_mirror_is_tested_by_the_same_checksum(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="another checksum"):
        download("file.bin", tmp_path / "to", SHA256, mirror=str(tmp_path / "mirror"))
    assert files(tmp_path / "to") == []


def test_a_mirror_address_serves_the_same_paths(server, tmp_path):
    download("set/sound", tmp_path, SHA256, url="http://127.0.0.1:9/x", mirror=f"{server}/copy/")
    assert Unreliable.requests == ["/copy/set/sound"]


def test_a_file_that_a_mirror_lacks_is_named(tmp_path):
    with pytest.raises(InputError, match="set/file.bin is not in the mirror folder .* public address is http://example"):
        download("set/file.bin", tmp_path, SHA256, url="http://example.org/f", mirror=str(tmp_path))
    with pytest.raises(InputError, match="no public address"):
        download("set/file.bin", tmp_path, SHA256)
