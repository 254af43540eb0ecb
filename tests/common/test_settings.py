import math

import pytest

from common.errors import UserError
from common.settings import Search, parse_beam_sizes

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "--beam-size"),
        ({"n_best": 0}, "--n-best"),
        ({"beam_size": 5, "n_best": 9}, "--n-best 9 is more than the beam of 5"),
        ({"method": "greedy", "n_best": 2}, "--n-best"),
        ({"method": "sample", "temperature": 0.0}, "--temperature must be above 0"),
        ({"temperature": math.nan}, "--temperature"),
        ({"temperature": math.inf}, "--temperature"),
        ({"top_k": -1}, "--top-k"),
        ({"temperature": 0.7}, "--temperature is for --method sample alone"),
        ({"method": "greedy", "top_k": 5}, "--top-k is for --method sample alone"),
        ({"seed": -1}, "--seed"),
        ({"length_penalty": math.nan}, "--length-penalty"),
    ],
)
def test_a_search_that_makes_no_sense_names_its_flag(settings, message):
    with pytest.raises(UserError, match=message):
        Search(**settings)


@pytest.mark.parametrize("text", ["0,a", "3,-1", "2.5"])
def test_beams_are_numbers_from_one(text):
    with pytest.raises(UserError, match=f"--beam-sizes {text} must be numbers from 1"):
        parse_beam_sizes(text)


def test_beams_are_separated_by_commas():
    assert parse_beam_sizes("1, 5,10,") == (1, 5, 10)
    assert parse_beam_sizes("") == ()
