"""Tests of the command that serves, in a process of its own."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from apps.web.__main__ import main
from apps.web.start import ServiceFlags
from common.errors import UserError

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[3]


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UserError, match="--port"):
            main(ServiceFlags(port=taken.getsockname()[1]))


def test_prices_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="--prices"):
        main(ServiceFlags(prices=tmp_path))


ONLY_LOCKED = """
import importlib.metadata, re, sys
locked = {re.split("[= ;]", line)[0] for line in open("requirements-web.lock")}
owners = importlib.metadata.packages_distributions()
names = {name: {re.sub("[-_.]+", "-", one).lower() for one in owners[name]} for name in owners}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if not names.get(name.partition(".")[0], locked) & locked:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from apps.web.start import ServiceFlags, start_service
print(start_service(ServiceFlags()).title)
"""


def test_the_service_answers_with_its_own_requirements_alone():
    command = [sys.executable, "-c", ONLY_LOCKED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("Recurrent-network applications\n", "")


def test_a_service_that_is_told_to_stop_finishes_what_it_was_asked():
    command = [sys.executable, "-m", "apps.web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        statuses = []

        def ask():
            texts = ["A man walks his dog across the street. " * 40]
            statuses.append(post(port, "/api/translation", {"texts": texts}))

        thread = threading.Thread(target=ask)
        thread.start()
        while "\npending 1.0" not in metrics(port) and not statuses:
            pass
        process.send_signal(signal.SIGTERM)
        thread.join()
    assert statuses == [200]
    # A process that was told to stop says so by how it ends.
    assert process.returncode in (0, -signal.SIGTERM)


def post(port, path, content):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(content), headers)
    return connection.getresponse().status


def metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()
