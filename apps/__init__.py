"""The applications; importing them starts the backend, before any other module imports Keras."""

from common.device import start_backend

start_backend()
