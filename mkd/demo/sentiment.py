"""Sentiment: what does the writer think of it?"""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.forms import Contrast, Opinion, deciding, make_opinion, say_opinion, valence
from mkd.tasks import Row

_BELIEFS = ("", "", "i think that ", "we all agree that ")
_DOUBTS = ("i doubt that ", "none of us thinks that ")
_CONTRAST_SHARE = 0.6
_DOUBTED_SHARE = 0.25


class Review(NamedTuple):
    """An opinion; one that is doubted is turned round."""

    opinion: Opinion
    doubted: bool = False


def is_positive(review: Review) -> bool:
    """Whether the writer speaks well of it; of a contrast the claim that wins decides."""
    return (valence(deciding(review.opinion)) > 0) != review.doubted


def say(draw: Draw, review: Review) -> str:
    """A sentence for the review."""
    lead = "" if isinstance(review.opinion, Contrast) else draw.pick(_DOUBTS if review.doubted else _BELIEFS)
    return lead + say_opinion(draw, review.opinion)


def make_review(draw: Draw) -> Review:
    """A random review; contrasts are not doubted."""
    opinion = make_opinion(draw, _CONTRAST_SHARE)
    return Review(opinion, not isinstance(opinion, Contrast) and draw.chance(_DOUBTED_SHARE))


def make(draw: Draw) -> Row:
    """A random row."""
    review = make_review(draw)
    return Row(say(draw, review), None, float(is_positive(review)))
