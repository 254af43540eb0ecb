import keras
import pytest

from common import device

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    ("backend", "cell", "said"),
    [
        ("tensorflow", "lstm", "allowed by these settings for lstm"),
        ("tensorflow", "gru", "allowed by these settings for gru"),
        ("jax", "lstm", "allowed by these settings for lstm"),
        ("jax", "gru", "not used, since JAX has none for gru: take --cell lstm"),
        ("torch", "simple_rnn", "not used, since simple_rnn has none"),
    ],
)
def test_on_a_gpu_it_is_said_whether_the_settings_allow_fused_kernels(
    backend, cell, said, monkeypatch
):
    monkeypatch.setattr(device, "device_name", lambda: "1 x GPU")
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    line = device.fused_kernel_line(cell)
    assert line.startswith("fused GPU kernels (cuDNN): ")
    assert said in line


def test_without_a_gpu_or_a_recurrence_nothing_is_said_of_them(monkeypatch):
    monkeypatch.setattr(device, "device_name", lambda: "CPU, 2 threads")
    assert device.fused_kernel_line("lstm") == ""
    monkeypatch.setattr(device, "device_name", lambda: "1 x GPU")
    assert device.fused_kernel_line("feedforward") == ""
