import functools
import hashlib
import http.server
import threading

import pytest

from data.download import import_tfds, prepare_tfds
from data.reviews.imdb import NAME
from tests.helpers import refused

pytestmark = pytest.mark.no_backend

TEXT = b"one\ntwo\n"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The address of a host that has `lines.txt`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "lines.txt").write_bytes(TEXT)
    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@functools.cache
def lines_of_a_host():
    """A data set that is one file of a host; TensorFlow Datasets takes a name once."""
    tfds, _ = import_tfds()

    class LinesOfAHost(tfds.core.GeneratorBasedBuilder):
        VERSION = "1.0.0"
        address = ""
        url_infos = {}

        def _info(self):
            features = tfds.features.FeaturesDict({"line": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(manager.download(self.address))}

        def _generate_examples(self, path):
            return enumerate({"line": line} for line in path.read_text().split())

    return LinesOfAHost


@pytest.fixture
def prepare(host, tmp_path):
    """Prepares that data set; what is given is the checksum that is known for its file."""
    builder = lines_of_a_host()
    builder.address = host + "lines.txt"

    def prepare_with(checksum=""):
        url_info = import_tfds()[0].download.checksums.UrlInfo
        info = url_info(size=len(TEXT), checksum=checksum, filename="lines.txt")
        builder.url_infos = {builder.address: info} if checksum else {}
        prepare_tfds("lines_of_a_host:1.0.0", tmp_path / "root", host=host)

    return prepare_with


def test_a_data_set_of_the_right_checksum_is_prepared(prepare, tmp_path):
    prepare(hashlib.sha256(TEXT).hexdigest())
    assert (tmp_path / "root" / "lines_of_a_host" / "1.0.0" / "dataset_info.json").exists()
    assert len(list((tmp_path / "root").iterdir())) == 1


@pytest.mark.parametrize(
    "known", ["", hashlib.sha256(b"other").hexdigest()], ids=["unknown", "other"]
)
def test_a_data_set_of_an_unknown_or_another_checksum_is_refused(prepare, tmp_path, known):
    message = refused(prepare, known)
    assert "checksum" in message.lower()
    assert "DATA_DIR" in message
    assert not list((tmp_path / "root").iterdir())


def test_the_checksum_of_imdb_is_known():
    tfds, _ = import_tfds()
    infos = tfds.builder_cls(NAME.partition("/")[0]).url_infos
    assert [len(info.checksum) for info in infos.values()] == [64]
