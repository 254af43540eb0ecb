import functools
import json
import shutil
from pathlib import Path

import pytest

from apps.forecasting import predict
from apps.forecasting.predictor import Predictor
from tests.apps.forecasting.helpers import evaluated, prices_like, run_train, table_of
from tests.helpers import call, check_refused, photographed


@pytest.fixture(scope="session")
def flags(prices_dir):
    """What both of the trained runs were trained with."""
    return ["--data-dir", prices_dir, "--tickers", "SIMA,^SIM"]


@pytest.fixture(scope="session")
def trained(flags, tmp_path_factory):
    """A run folder trained on mixed windows."""
    run = tmp_path_factory.mktemp("runs") / "windows"
    with photographed(run):
        run_train(*flags, "--run", run)
    return run


@pytest.fixture(scope="session")
def stateful(flags, tmp_path_factory):
    """A run folder trained on whole histories."""
    run = tmp_path_factory.mktemp("runs") / "stateful"
    with photographed(run):
        run_train(*flags, "--run", run, "--stateful")
    return run


@pytest.fixture(params=["trained", "stateful"])
def either(request):
    """Each of the two run folders in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture(scope="session")
def scored(trained, prices_dir):
    """The test split of the first run, beside all baselines."""
    return evaluated(trained, data_dir=prices_dir, baselines=True)


@pytest.fixture
def forecast(capsys, monkeypatch):
    """Calls the command and returns its JSON, and the lines beside it."""
    # Loading takes most of the time: once a test will do.
    monkeypatch.setattr(Predictor, "load", functools.cache(Predictor.load))

    def forecast(run, ticker, *arguments):
        capsys.readouterr()
        call(predict.main, "--run", run, "--ticker", ticker, "--json", *arguments)
        output = capsys.readouterr()
        return json.loads(output.out), output.err

    return forecast


@pytest.fixture
def refused(capsys, here, prices_dir):
    """Runs a command that must end in one line and status 2, with nothing written."""
    folder = here / "prices"
    prices_like(prices_dir, folder)
    table = table_of(folder, "SIMA")
    table[-70:].to_csv(folder / "YOUNG.csv", index=False)
    (here / "caption").mkdir()
    (here / "caption" / "config.json").write_text('{"task": "captioning"}')

    return functools.partial(check_refused, folder=here, capsys=capsys)
