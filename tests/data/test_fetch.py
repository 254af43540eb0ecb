import hashlib
import http.server
import threading

import pytest

from data.fetch import fetch
from tests.helpers import refused

BODY = b"one\ntwo\n" * 500
BIG = bytes(1 << 20) * 33


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers["User-Agent"]))
        answer = self.server.answers.pop(0) if self.server.answers else "whole"
        body = BIG if self.path == "/big" else BODY
        if answer == "hang":
            self.server.released.wait(10)
            return
        if answer == "drop":
            return
        if isinstance(answer, int):
            self.send_error(answer)
            return
        self.send_response(200)
        if answer != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer == "half" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        server.requests, server.answers = [], []
        server.released = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_a_file_arrives_whole_in_a_new_folder(host, tmp_path):
    path = tmp_path / "new" / "file.gz"
    lines = []
    assert fetch(host.url + "/a", path, checksum=None, log=lines.append) == path
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert lines == [f"Downloading {host.url}/a (0.0 MB)"]


def test_the_program_does_not_call_itself_urllib(host, tmp_path):
    fetch(host.url + "/a", tmp_path / "file", checksum=None)
    assert "urllib" not in host.requests[0][1].lower()


def test_a_body_without_a_length_is_accepted(host, tmp_path):
    host.answers = ["no length"]
    assert fetch(host.url + "/a", tmp_path / "file", checksum=None).read_bytes() == BODY


def test_a_long_download_tells_how_far_it_is(host, tmp_path):
    lines = []
    fetch(host.url + "/big", tmp_path / "big", checksum=None, log=lines.append)
    assert (tmp_path / "big").read_bytes() == BIG
    assert lines[1:] == ["big: 16.8 MB", "big: 33.6 MB"]


@pytest.mark.parametrize("answer", [500, 503, 429, "half", "drop", "hang"])
def test_what_may_pass_is_tried_again_after_growing_pauses(host, tmp_path, answer):
    host.answers = [answer, answer]
    pauses, lines = [], []
    path = tmp_path / "file"
    fetch(
        host.url + "/a",
        path,
        checksum=None,
        timeout_s=0.2 if answer == "hang" else 10,
        pause_s=3,
        sleep=pauses.append,
        log=lines.append,
    )
    assert path.read_bytes() == BODY
    assert pauses == [3, 6]
    assert sum("next attempt in" in line for line in lines) == 2


def test_what_stays_wrong_is_named_with_its_remedy(host, tmp_path):
    path = tmp_path / "file"
    host.answers = [503, "drop", "half"]
    message = refused(fetch, host.url + "/a", path, checksum=None, sleep=lambda seconds: None)
    assert "broke off after 2000 of 4000 bytes" in message
    for part in (host.url + "/a", str(path), "DATA_DIR"):
        assert part in message
    assert len(host.requests) == 3
    assert not list(tmp_path.iterdir())


def test_a_missing_page_is_not_asked_for_twice(host, tmp_path):
    host.answers = [404]
    assert "HTTP 404 Not Found" in refused(fetch, host.url + "/a", tmp_path / "file", checksum=None)
    assert len(host.requests) == 1


def test_a_dead_host_leaves_no_folder(host, tmp_path):
    host.shutdown()
    host.server_close()
    options = {"checksum": None, "sleep": lambda seconds: None}
    message = refused(fetch, host.url + "/a", tmp_path / "new" / "file", **options)
    assert "refused" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_another_checksum_is_refused_and_the_old_file_stays(host, tmp_path, algorithm):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    right = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    wrong = f"{algorithm}:{hashlib.new(algorithm, b'another').hexdigest()}"
    message = refused(fetch, host.url + "/a", path, checksum=wrong)
    assert right in message
    assert wrong in message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    fetch(host.url + "/a", path, checksum=right)
    assert path.read_bytes() == BODY


def test_a_download_names_its_checksum_or_says_that_there_is_none(host, tmp_path):
    with pytest.raises(TypeError, match="checksum"):
        fetch(host.url + "/a", tmp_path / "file")
    assert not host.requests


def test_a_folder_that_cannot_be_written_is_named(host, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    place = tmp_path / "file" / "below"
    with pytest.raises(OSError, match="another folder") as caught:
        fetch(host.url + "/a", place, checksum=None)
    assert caught.value.filename == str(place)
