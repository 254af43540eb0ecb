"""The applications; importing them starts the backend, before any other module imports Keras."""

import contextlib

from common.device import start_backend

# TensorFlow's native library hides symbols that curl_cffi needs, through which yfinance downloads:
# the one that comes first keeps its own.
with contextlib.suppress(ImportError):
    import curl_cffi  # noqa: F401

start_backend()
