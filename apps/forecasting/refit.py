"""Lets a trained model learn on from the days that have passed since, at a tenth of its rate."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from apps.forecasting.predict import Predictor
from common.callbacks import StopOnNaN
from common.device import XLA
from common.errors import UserError
from common.optimizers import build_optimizer
from common.training import gradient_clipping
from data.prices.features import Features
from data.prices.windows import PriceWindows
from models.forecasting import LOSSES

_SHARE_OF_RATE = 0.1
# Days before the last one that are learnt from; older ones were seen in training.
_RECENT_DAYS = 1000


def refitted(
    predictor: Predictor,
    features: Sequence[Features],
    *,
    until: np.datetime64,
    log: Callable[[str], None] | None = None,
) -> Predictor:
    """Returns a copy of a predictor after one pass over the days up to a date.

    Args:
        predictor: Trained model; it stays as it is.
        features: One a ticker.
        until: Last day of any outcome that is learnt from.
        log: What takes a line a pass.

    Raises:
        UserError: If the model was trained with carried states.
    """
    config = predictor.config
    if config.stateful:
        raise UserError("--refit is for models trained without --stateful.")
    spans = [
        one.origins(
            np.datetime64("1900-01-01"), until, horizon=config.horizon, lookback=config.lookback
        )[-_RECENT_DAYS:]
        for one in features
    ]
    chosen = [pair for pair in zip(features, spans, strict=True) if len(pair[1])]
    if not chosen:
        return predictor
    batches = PriceWindows(
        [one for one, _ in chosen],
        [days for _, days in chosen],
        lookback=config.lookback,
        horizon=config.horizon,
        stride=config.stride,
        every_step=config.output == "every",
        warmup_days=config.warmup_days,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    # Of the dropout, so that two calls come to the same.
    keras.utils.set_random_seed(config.seed)
    model = keras.models.clone_model(predictor.model)
    model.set_weights(predictor.model.get_weights())
    model.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate * _SHARE_OF_RATE,
            weight_decay=config.weight_decay,
        ),
        loss=LOSSES[config.distribution, config.loss],
        jit_compile=XLA[config.jit_compile],
    )
    callbacks = [StopOnNaN(), gradient_clipping(config)]
    history = model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    if log:
        log(f"learnt from the days up to {until}: loss {history.history['loss'][0]:.4f}")
    return Predictor(model, config)
