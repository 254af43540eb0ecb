"""The applications; importing them starts no backend: the first that imports Keras does."""

from common.device import start_backend_with_keras

start_backend_with_keras()
