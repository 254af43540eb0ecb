"""How a decoder looks for its words, as the flags of translation and captioning set it."""

import dataclasses
from typing import Any, Literal

from common.config import split_list
from common.errors import UserError
from common.settings import check_at_least, check_seeds, flag


@dataclasses.dataclass(frozen=True)
class Search:
    """How to look for what a decoder writes; the names are those of `build_generator`."""

    method: Literal["beam", "greedy", "sample"] = "beam"
    beam_size: int = 5
    length_penalty: float = 1.0
    n_best: int = 1
    no_repeat_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self):
        """Checks what the types cannot say.

        Raises:
            UserError: If the settings contradict each other.
        """
        check_at_least(1, self, "beam_size", "n_best")
        check_at_least(0, self, "length_penalty", "no_repeat_ngram", "top_k")
        check_seeds(self, "seed")
        if not 0 < self.temperature < float("inf"):
            raise UserError("--temperature must be above 0; towards 0 it is --method greedy.")
        for name, default in (("temperature", 1.0), ("top_k", 0)):
            if self.method != "sample" and getattr(self, name) != default:
                raise UserError(f"{flag(name)} is for --method sample alone: leave it out.")
        if self.method == "greedy" and self.n_best > 1:
            raise UserError("--method greedy writes one sequence: leave --n-best out.")
        if self.method == "beam" and self.n_best > self.beam_size:
            raise UserError(
                f"--n-best {self.n_best} is more than the beam of {self.beam_size}: raise"
                " --beam-size."
            )

    @classmethod
    def of(cls, config: Any, **given) -> "Search":
        """Returns the search that a run was set up with, but for what is `given` and not None."""
        own = {
            "beam_size": config.beam_size,
            "length_penalty": config.length_penalty,
            "no_repeat_ngram": config.no_repeat_ngram,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return cls(**{**own, **given})


def parse_beam_sizes(text: str) -> tuple[int, ...]:
    """Returns the beams that `--beam-sizes` names, such as `1,2,5`.

    Raises:
        UserError: If it holds anything but numbers from 1, separated by commas.
    """
    try:
        sizes = tuple(map(int, split_list(text)))
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise UserError(f"--beam-sizes {text} takes numbers from 1, separated by commas.")
    return sizes
