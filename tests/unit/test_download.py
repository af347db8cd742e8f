"""Downloads from a server on the loopback interface."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from diptych.data.readers.remote import RemoteFile, fetch
from diptych.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `content`; closes the connection after `break_after` bytes."""

    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.break_after])

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.break_after, server.requests = CONTENT, None, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server, *paths, name="file.bin"):
    """The file CONTENT at these paths of the server."""
    urls = tuple(f"http://127.0.0.1:{server.server_port}/{path}" for path in paths or ("file.bin",))
    return RemoteFile(name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), urls)


def test_a_missing_file_is_downloaded_and_nothing_else_is_left(server, tmp_path, capfd):
    (path,) = fetch([remote(server)], tmp_path / "new" / "folder")
    assert tmp_path / "new" / "folder" / "file.bin" == path
    assert CONTENT == path.read_bytes()
    assert [path] == list(path.parent.iterdir())
    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("content", "break_after"),
    [(CONTENT, 100_000), (bytes([CONTENT[0] ^ 1]) + CONTENT[1:], None), (CONTENT + bytes(5_000_000), None)],
    ids=["interrupted", "one byte differs", "too long"],
)
def test_a_failed_download_leaves_nothing_behind(server, tmp_path, content, break_after):
    server.content, server.break_after = content, break_after
    with pytest.raises(DownloadError, match=r"Cannot download file\.bin"):
        fetch([remote(server)], tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_the_next_address_is_tried_when_one_fails(server, tmp_path):
    (path,) = fetch([remote(server, "missing", "file.bin")], tmp_path)
    assert CONTENT == path.read_bytes()
    assert ["/missing", "/file.bin"] == server.requests


def test_concurrent_downloads_do_not_share_a_file(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch([remote(server)], tmp_path), range(4)))
    assert {(tmp_path / "file.bin",)} == paths
    assert CONTENT == (tmp_path / "file.bin").read_bytes()
    assert [tmp_path / "file.bin"] == list(tmp_path.iterdir())


def test_an_existing_file_needs_no_request_and_is_kept_if_it_differs(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    fetch([remote(server)], tmp_path)
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"not the published file: it has 4 bytes, expected 300,000"):
        fetch([remote(server)], tmp_path)
    assert b"mine" == (tmp_path / "file.bin").read_bytes()
    assert [] == server.requests


def test_without_a_network_the_error_says_which_files_to_put_where(server, tmp_path):
    server.server_close()
    expected = rf"[^\n]*Without a network, put a\.gz, b\.gz into '{tmp_path}'\."
    with pytest.raises(DownloadError, match=rf"\A{expected}\Z"):
        fetch([remote(server, name=name) for name in ("a.gz", "b.gz")], tmp_path)
