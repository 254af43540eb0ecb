import pytest

from apps.captioning.config import Config as CaptioningConfig
from apps.forecasting.config import Config as ForecastingConfig
from apps.sentiment.config import Config as SentimentConfig
from apps.translation.config import Config as TranslationConfig
from common.errors import UserError

pytestmark = pytest.mark.no_backend

CONFIGS = [ForecastingConfig, SentimentConfig, TranslationConfig, CaptioningConfig]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__module__.split(".")[1])
def test_every_app_refuses_what_a_cell_does_not_have(config):
    assert config(cell="simple_rnn", activation="relu")
    assert config(cell="feedforward")
    with pytest.raises(UserError, match="--activation relu is for --cell simple_rnn alone"):
        config(cell="gru", activation="relu")
    with pytest.raises(UserError, match="--recurrent-dropout is for a recurrence"):
        config(cell="feedforward", recurrent_dropout=0.1)


def test_a_network_without_states_neither_carries_nor_starts_from_one():
    with pytest.raises(UserError, match="--stateful carries states"):
        ForecastingConfig(cell="feedforward", stateful=True)
    with pytest.raises(UserError, match="--variant initial_state needs a state"):
        CaptioningConfig(cell="feedforward", variant="initial_state")
