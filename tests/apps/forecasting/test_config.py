import pytest

from apps.forecasting.config import Config
from common.errors import UserError

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, set()),
        ({"stateful": True}, {"stride", "batch_size"}),
        ({"output": "last"}, {"warmup_days"}),
        ({"features": "returns,range"}, {"market"}),
    ],
)
def test_a_setting_is_ignored_in_just_the_modes_that_do_not_read_it(settings, names):
    ignored = Config(**settings).ignored()
    # What clipping and schedule ignore is the same in all tasks.
    assert ignored.keys() == names
    for name, reason in ignored.items():
        assert hasattr(Config(), name) and reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_end": "2016-12-31"}, "--train-end must lie before --validation-end"),
        ({"train_end": "20151231"}, "--train-end 20151231"),
        ({"distribution": "quantiles"}, "--loss pinball"),
        ({"features": "returns,weather"}, "--features"),
        ({"stateful": True, "output": "last"}, "--output"),
        ({"stateful": True, "cell": "feedforward"}, "--stateful"),
        ({"warmup_days": 128}, "--warmup-days"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        Config(**settings)
