import hashlib
import http.server
import threading

import pytest

from data import download as module
from data.download import fetch
from tests.helpers import refused

pytestmark = pytest.mark.no_backend

BODY = b"one\ntwo\n" * 500


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers["User-Agent"])
        answer = self.server.answers.pop(0) if self.server.answers else "whole"
        if answer == "hang":
            self.server.released.wait(10)
        elif isinstance(answer, int):
            self.send_error(answer)
        elif answer != "drop":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[: len(BODY) // 2] if answer == "half" else BODY)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        server.requests, server.answers = [], []
        server.released = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/a"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_a_file_arrives_whole_in_a_new_folder(host, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 3_000)
    path, lines = tmp_path / "new" / "file.gz", []
    assert fetch(host.url, path, checksum=None, log=lines.append) == path
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert lines == [f"Downloading {host.url} (0.0 MB)", "file.gz: 0.0 MB"]
    assert "urllib" not in host.requests[0].lower()


@pytest.mark.parametrize("answer", [500, "half", "drop", "hang"])
def test_a_failed_attempt_is_repeated_after_growing_pauses(host, tmp_path, answer):
    host.answers = [answer, answer]
    pauses, lines = [], []
    timeout_s = 0.2 if answer == "hang" else 10
    options = {"checksum": None, "timeout_s": timeout_s, "sleep": pauses.append}
    path = fetch(host.url, tmp_path / "file", log=lines.append, **options)
    assert path.read_bytes() == BODY
    assert pauses == [1, 2]
    assert sum("next attempt in" in line for line in lines) == 2


def test_a_failure_that_stays_is_named_with_its_remedy(host, tmp_path):
    path = tmp_path / "file"
    host.answers = [503, "drop", "half"]
    message = refused(fetch, host.url, path, checksum=None, sleep=lambda seconds: None)
    assert "broke off after 2000 of 4000 bytes" in message
    for part in (host.url, str(path), "DATA_DIR"):
        assert part in message
    assert len(host.requests) == 3
    host.answers = [404] * 3
    message = refused(fetch, host.url, path, checksum=None, sleep=lambda seconds: None)
    assert "404" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_another_checksum_is_refused_and_the_old_file_stays(host, tmp_path, algorithm):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    right = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    wrong = f"{algorithm}:{hashlib.new(algorithm, b'another').hexdigest()}"
    message = refused(fetch, host.url, path, checksum=wrong)
    assert right in message and wrong in message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    fetch(host.url, path, checksum=right)
    assert path.read_bytes() == BODY
