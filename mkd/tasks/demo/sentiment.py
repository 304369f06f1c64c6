"""The task sentiment: is the writer's opinion positive?"""

from mkd.tasks.demo.forms import (
    Claim,
    Contrast,
    make_claim,
    make_contrast,
    say_claim,
    say_contrast,
    valence,
)
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Row

_CONTRASTS = 0.6


def is_positive(opinion: Claim | Contrast) -> bool:
    """Returns whether the opinion is good. The winning claim decides for a contrast."""
    return valence(opinion.wins if isinstance(opinion, Contrast) else opinion) > 0


def say(rng: Rng, opinion: Claim | Contrast) -> str:
    """Returns a sentence for the opinion."""
    return say_contrast(rng, opinion) if isinstance(opinion, Contrast) else say_claim(rng, opinion)


def make(rng: Rng) -> Row:
    """Returns a random row."""
    opinion = make_contrast(rng) if rng.chance(_CONTRASTS) else make_claim(rng, 0.4)
    return Row(say(rng, opinion), None, float(is_positive(opinion)))
