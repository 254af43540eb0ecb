"""Which settings each task ignores beside others; `check_ignored` refuses them when typed."""

import pytest

from apps.captioning.config import Config as Captioning
from apps.sentiment.config import Config as Sentiment
from apps.translation.config import Config as Translation

pytestmark = pytest.mark.no_backend

CLIPPING = {"plateau_patience", "clip_percentile"}
CUT = {"validation_share", "test_share", "split_seed"}
SIZES = {"validation_size", "test_size", "split_seed"}
REWARD = {"samples", "pictures_per_step"}


@pytest.mark.parametrize(
    ("config", "ignored"),
    [
        (Sentiment(), {"activation"}),
        (Sentiment(bigram_buckets=0), {"activation", "bigram_dim", "bigram_dropout"}),
        (Sentiment(cell="simple_rnn"), set()),
        (Translation(), {"activation", *SIZES}),
        (
            Translation(data="tatoeba", cell="feedforward"),
            {"activation", "recurrent_dropout"},
        ),
        (Captioning(), {"activation", *CUT, *REWARD}),
        (
            Captioning(data="mine", variant="merge", views=1),
            {"activation", *REWARD, "attention", "mirror"},
        ),
        (
            Captioning(objective="cider", init_from="runs/a"),
            {"activation", *CUT, "tokens_per_batch", "label_smoothing"},
        ),
    ],
)
def test_each_mode_ignores_just_what_it_does_not_read(config, ignored):
    assert set(config.ignored()) == CLIPPING | ignored
