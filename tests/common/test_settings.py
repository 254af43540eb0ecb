import math

import pytest

from common.errors import UserError
from common.settings import Search, parse_beam_sizes

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "--beam-size"),
        ({"beam_size": 5, "n_best": 9}, "--n-best 9 is more than the beam of 5"),
        ({"method": "greedy", "n_best": 2}, "--n-best"),
        ({"method": "sample", "temperature": 0.0}, "--temperature must be above 0"),
        ({"temperature": 0.7}, "--temperature is for --method sample alone"),
        ({"length_penalty": math.nan}, "--length-penalty"),
    ],
)
def test_a_search_that_makes_no_sense_names_its_flag(settings, message):
    with pytest.raises(UserError, match=message):
        Search(**settings)


def test_beams_are_numbers_from_one_separated_by_commas():
    assert parse_beam_sizes("1, 5,10,") == (1, 5, 10)
    for text in ("0,a", "3,-1", "2.5"):
        with pytest.raises(UserError, match=f"--beam-sizes {text} must be numbers from 1"):
            parse_beam_sizes(text)
