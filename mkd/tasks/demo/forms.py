"""Semantic forms that several tasks share (opinions, events, comparisons) and their sentences.

All sentences except contrasts have eight words. The selection split (mkd/selection) never treats
texts of eight words as nearly equal, and it keeps pairs with a common text of eight words on one
side. Contrasts have more words, but there are far more different contrasts than rows.
"""

from typing import NamedTuple

from mkd.tasks.demo.lexicon import (
    ACTS,
    CITIES,
    DEGREES,
    DENIALS,
    NAMES,
    OPPOSITE,
    QUALITIES,
    RACES,
    SCALES,
    THINGS,
    WHENS,
    past,
)
from mkd.tasks.demo.rng import Rng


class Claim(NamedTuple):
    """An opinion of one thing. denied reverses it."""

    thing: str
    quality: str
    city: str = "oslo"
    when: str = "today"
    denied: bool = False


class Contrast(NamedTuple):
    """Two claims, of which the writer supports `wins`. frame: key of FRAMES, which orders them."""

    yields: Claim
    wins: Claim
    frame: str


class Event(NamedTuple):
    """An event: agent did something to patient."""

    agent: str
    verb: str
    patient: str
    city: str = "oslo"


class Comparison(NamedTuple):
    """A comparison of two people. scale: a comparative, such as `faster`; it holds for left."""

    left: str
    scale: str
    right: str
    deed: str = "ran"
    city: str = "oslo"
    when: str = "today"


HINT = 0.75
"""Probability of the more frequent value of a part of a form.

It lets a single word hint at a label that otherwise depends on two words, so that a model can start
to learn.
"""
FRAMES = {
    "but": "{yields} but {wins}",
    "although": "although {yields} {wins}",
    "even though": "{wins} although {yields}",
}
_FRAMES = tuple(FRAMES)
_QUALITIES = tuple(QUALITIES)
_EVENTS = (
    "it was {agent} that {past} {patient} in {city}",
    "it was {patient} that {agent} {past} in {city}",
    "{patient} was indeed {past} by {agent} in {city}",
)


def valence(c: Claim) -> int:
    """Returns -2 (awful), -1 (bad), 1 (good) or 2 (superb).

    A denied bad or awful quality is good (1), a denied good or superb one is bad (-1).
    """
    value = QUALITIES[c.quality]
    return value if not c.denied else -1 if value > 0 else 1


def say_claim(rng: Rng, c: Claim) -> str:
    """Returns a sentence for the opinion."""
    text = f"the {c.thing} in {c.city} was {rng.pick(DENIALS if c.denied else DEGREES)} {c.quality}"
    return f"{text} {c.when}" if rng.chance(0.5) else f"{c.when} {text}"


def say_contrast(rng: Rng, c: Contrast) -> str:
    """Returns a sentence for a contrast.

    At least three words separate an opinion from the conjunction that decides which claim wins.
    """
    return FRAMES[c.frame].format(yields=_clause(rng, c.yields), wins=_clause(rng, c.wins))


def _clause(rng: Rng, c: Claim) -> str:
    return f"the {c.thing} was {f'{rng.pick(DENIALS)} ' if c.denied else ''}{c.quality} in {c.city}"


def say_event(rng: Rng, e: Event) -> str:
    """Returns a sentence for the event. Agent and patient come first with equal probability."""
    form = _EVENTS[0] if rng.chance(0.5) else rng.pick(_EVENTS[1:])
    return form.format(agent=e.agent, patient=e.patient, past=past(e.verb), city=e.city)


def say_comparison(rng: Rng, c: Comparison) -> str:
    """Returns a sentence for the comparison, from either side.

    Examples: `anna ran faster than david ...`, `david ran slower than anna ...`.
    """
    left, right, scale = c.left, c.right, c.scale
    if rng.chance(1 - HINT):
        left, right, scale = right, left, OPPOSITE[scale]
    return f"{left} {c.deed} {scale} than {right} in {c.city} {c.when}"


def make_claim(rng: Rng, denied: float, good: float = 0.5) -> Claim:
    """Returns a random opinion. denied, good: probabilities that it is denied and good."""
    c = Claim(
        rng.pick(THINGS),
        rng.pick(_QUALITIES),
        rng.pick(CITIES),
        rng.pick(WHENS),
        rng.chance(denied),
    )
    return c if (valence(c) > 0) == rng.chance(good) else with_valence(rng, c, -valence(c))


def make_contrast(rng: Rng, good: float = 0.5) -> Contrast:
    """Returns a random contrast of two different things, usually one good and one bad.

    good: probability that the winning claim is good.
    """
    yields, wins = make_claim(rng, 0.2), make_claim(rng, 0.2, good)
    wins = wins._replace(
        thing=rng.pick_other(THINGS, yields.thing), city=rng.pick_other(CITIES, yields.city)
    )
    if (valence(yields) > 0) == (valence(wins) > 0) and rng.chance(0.8):
        yields = with_valence(rng, yields, -valence(yields))
    return Contrast(yields, wins, rng.pick(_FRAMES))


def with_valence(rng: Rng, c: Claim, value: int) -> Claim:
    """Returns the claim with another quality, so that its valence has the sign of value.

    denied does not change.
    """
    wanted = (value > 0) != c.denied  # a denied claim needs a quality of the opposite sign
    return c._replace(
        quality=rng.pick([q for q in _QUALITIES if (QUALITIES[q] > 0) == wanted and q != c.quality])
    )


def _two(rng: Rng) -> list[str]:
    """Returns two names, in alphabetical order with probability HINT.

    The frequent order helps a model to start learning tasks that depend on the order of names.
    """
    first = rng.pick(NAMES)
    return sorted((first, rng.pick_other(NAMES, first)), reverse=rng.chance(1 - HINT))


def make_event(rng: Rng) -> Event:
    """Returns a random event."""
    agent, patient = _two(rng)
    return Event(agent, rng.pick(ACTS), patient, rng.pick(CITIES))


def make_comparison(rng: Rng) -> Comparison:
    """Returns a random comparison."""
    left, right = _two(rng)
    return Comparison(
        left, rng.pick(SCALES), right, rng.pick(RACES), rng.pick(CITIES), rng.pick(WHENS)
    )
