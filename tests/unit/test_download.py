"""Downloads against a server on the loopback interface, which real use would refuse."""

import hashlib
import io
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import numpy as np
import pytest

from diptych.data.download import RemoteFile, fetch, https_opener
from diptych.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves `content`; breaks the connection after `break_after` bytes; may not know Range."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.break_after = None
        self.knows_range = True
        self.requests = []

    def url(self, path="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted_range = self.headers.get("Range")
        self.server.requests.append((self.path, wanted_range))
        if self.path == "/missing":
            self.send_error(404)
            return
        is_partial = wanted_range is not None and self.server.knows_range
        start = int(wanted_range.removeprefix("bytes=").removesuffix("-")) if is_partial else 0
        body = self.server.content[start:]
        self.send_response(206 if is_partial else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def opener() -> OpenerDirector:
    return build_opener(ProxyHandler({}))


def remote(*urls, content=CONTENT, name="file.bin"):
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest(), urls)


def test_a_missing_file_is_downloaded_whole_and_leaves_no_part(server, opener, tmp_path):
    paths = fetch([remote(server.url())], tmp_path / "new" / "folder", opener)
    assert paths == (tmp_path / "new" / "folder" / "file.bin",)
    assert paths[0].read_bytes() == CONTENT
    assert list(paths[0].parent.iterdir()) == [paths[0]]


def test_an_interrupted_download_leaves_only_the_part_it_has(server, opener, tmp_path):
    server.break_after = 100_000
    with pytest.raises(DownloadError, match="ended at byte 100,000 of 300,000"):
        fetch([remote(server.url())], tmp_path, opener)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin.part"]
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000]


def test_an_interrupted_download_continues_where_it_broke_off(server, opener, tmp_path):
    server.break_after = 100_000
    with pytest.raises(DownloadError):
        fetch([remote(server.url())], tmp_path, opener)
    server.break_after = None
    (path,) = fetch([remote(server.url())], tmp_path, opener)
    assert [wanted for _, wanted in server.requests] == [None, "bytes=100000-"]
    assert path.read_bytes() == CONTENT


def test_a_server_that_does_not_know_ranges_is_read_from_the_beginning(server, opener, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    server.knows_range = False
    (path,) = fetch([remote(server.url())], tmp_path, opener)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_already_whole_needs_no_request(server, opener, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    (path,) = fetch([remote(server.url())], tmp_path, opener)
    assert path.read_bytes() == CONTENT
    assert server.requests == []


def test_a_part_longer_than_the_file_is_fetched_anew(server, opener, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    (path,) = fetch([remote(server.url())], tmp_path, opener)
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, opener, tmp_path):
    server.content = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(DownloadError, match="its sha256 is"):
        fetch([remote(server.url())], tmp_path, opener)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_too_long_leaves_nothing_behind(server, opener, tmp_path):
    server.content = CONTENT + b"x" * 5_000_000
    with pytest.raises(DownloadError, match="more than 300,000 bytes"):
        fetch([remote(server.url())], tmp_path, opener)
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried_when_one_fails(server, opener, tmp_path):
    (path,) = fetch([remote(server.url("missing"), server.url("file.bin"))], tmp_path, opener)
    assert path.read_bytes() == CONTENT
    assert [requested for requested, _ in server.requests] == ["/missing", "/file.bin"]


def test_a_file_already_there_is_used_without_a_request(server, opener, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    fetch([remote(server.url())], tmp_path, opener)
    assert server.requests == []


def test_a_wrong_file_already_there_is_refused_and_kept(server, opener, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"not the published file: it has fewer than 300,000 bytes"):
        fetch([remote(server.url())], tmp_path, opener)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_plain_http_is_refused_unless_the_caller_brings_an_opener_for_it(server, tmp_path):
    with pytest.raises(DownloadError, match="unknown url type: http"):
        fetch([remote(server.url())], tmp_path)
    assert server.requests == []


def test_a_redirection_from_https_to_http_is_refused(server):
    headers = Message()
    headers["Location"] = server.url()
    found = Request("https://example.org/file.bin")
    found.timeout = 1
    with pytest.raises(URLError, match="unknown url type: http"):
        https_opener().error("http", found, io.BytesIO(), 302, "Found", headers)
    assert server.requests == []


def test_without_a_network_one_line_says_which_files_to_put_where(server, opener, tmp_path):
    server.server_close()
    files = [remote(server.url(), name=name) for name in ("a.gz", "b.gz")]
    with pytest.raises(DownloadError) as caught:
        fetch(files, tmp_path, opener)
    message = str(caught.value)
    assert message.endswith(f"Without a network, put a.gz, b.gz into {str(tmp_path)!r}.")
    assert "\n" not in message


def test_a_folder_that_cannot_be_made_is_a_download_error(server, opener, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DownloadError, match="Cannot fetch"):
        fetch([remote(server.url())], tmp_path / "taken" / "data", opener)
