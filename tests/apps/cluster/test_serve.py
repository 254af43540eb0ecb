"""The service with replicas on Ray: equal answers, a lost replica, an orderly end."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from apps.cluster.serve import main
from apps.sentiment.predict import as_json
from apps.sentiment.predictor import PRETRAINED, Predictor
from apps.web.start import ServiceFlags
from common.errors import UserError

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
TEXTS = [f"Take {number}: far from a good film." for number in range(40)]


@pytest.mark.parametrize(
    "options, named", [({"replicas": 0}, "--replicas"), ({"flags": ServiceFlags(port=0)}, "--port")]
)
def test_what_cannot_be_served_is_named(options, named):
    with pytest.raises(UserError, match=named):
        main(**{"flags": ServiceFlags(), **options})


def ask(port, text):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"texts": [text]})
    connection.request("POST", "/api/sentiment", body, {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["results"][0]


def test_replicas_answer_like_the_model_outlive_one_of_them_and_end_with_the_command():
    pytest.importorskip("ray.serve", reason="needs requirements-serve.txt")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apps.cluster.serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert str(port) in process.stdout.readline()
            children = psutil.Process(process.pid).children(recursive=True)
            replicas = [child for child in children if child.name().startswith("ray::ServeRep")]
            assert len(replicas) == 2
            # A replica's port for the proxies of other nodes is open to the network; Ray has no
            # setting for it, and guards it with a token.
            for child in set(children) - set(replicas):
                for connection in child.net_connections():
                    if connection.status == psutil.CONN_LISTEN:
                        assert connection.laddr.ip in LOOPBACK, child
            found = Predictor.load(PRETRAINED).predict(TEXTS)
            expected = [json.loads(as_json(one)) for one in found]
            with ThreadPoolExecutor(8) as callers:
                assert list(callers.map(lambda text: ask(port, text), TEXTS)) == expected
            replicas[0].kill()
            time.sleep(1)
            assert [ask(port, text) for text in TEXTS[:5]] == expected[:5]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
