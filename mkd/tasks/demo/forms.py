"""Meanings that several tasks share, opinions, events and comparisons, and the sentences that express them.

All sentences here but a contrast have eight words: texts of so many are never nearly equal, and pairs that have one
text in common are kept on one side (mkd/selection). A contrast has more words, and far more forms than rows.
"""

from typing import NamedTuple

from mkd.tasks.demo.draw import Draw
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


class Claim(NamedTuple):
    """An opinion of one thing; `denied` turns it round."""

    thing: str
    quality: str
    city: str = "oslo"
    when: str = "today"
    denied: bool = False


class Contrast(NamedTuple):
    """Two claims of which the writer stands by the second; `frame` is the key of FRAMES that puts them in order."""

    yields: Claim
    wins: Claim
    frame: str


class Event(NamedTuple):
    """Somebody did something to somebody."""

    agent: str
    verb: str
    patient: str
    city: str = "oslo"


class Comparison(NamedTuple):
    """The first did it more so than the second, by a scale named by its first comparative."""

    left: str
    scale: str
    right: str
    deed: str = "ran"
    city: str = "oslo"
    when: str = "today"


HINT = 0.75
"""How often a part of a form has the value that tells, with one word, what else two of them tell: where learning begins."""
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
    """From -2 (awful) over -1 (bad) and 1 (good) to 2 (superb); what is not bad, or not awful, is good."""
    value = QUALITIES[c.quality]
    return value if not c.denied else -1 if value > 0 else 1


def say_claim(draw: Draw, c: Claim) -> str:
    """A sentence for the opinion."""
    text = f"the {c.thing} in {c.city} was {draw.pick(DENIALS if c.denied else DEGREES)} {c.quality}"
    return f"{text} {c.when}" if draw.chance(0.5) else f"{c.when} {text}"


def say_contrast(draw: Draw, c: Contrast) -> str:
    """A sentence for both; three words and more lie between what is said and the word that tells which one wins."""
    return FRAMES[c.frame].format(yields=_clause(draw, c.yields), wins=_clause(draw, c.wins))


def _clause(draw: Draw, c: Claim) -> str:
    return f"the {c.thing} was {f'{draw.pick(DENIALS)} ' if c.denied else ''}{c.quality} in {c.city}"


def say_event(draw: Draw, e: Event) -> str:
    """With either of the two first, as often."""
    form = _EVENTS[0] if draw.chance(0.5) else draw.pick(_EVENTS[1:])
    return form.format(agent=e.agent, patient=e.patient, past=past(e.verb), city=e.city)


def say_comparison(draw: Draw, c: Comparison) -> str:
    """From either side: `anna ran faster than david ...`, `david ran slower than anna ...`."""
    left, right, scale = c.left, c.right, c.scale
    if draw.chance(1 - HINT):
        left, right, scale = right, left, OPPOSITE[scale]
    return f"{left} {c.deed} {scale} than {right} in {c.city} {c.when}"


def make_claim(draw: Draw, denied: float, good: float = 0.5) -> Claim:
    """A random opinion, denied so often and good so often."""
    c = Claim(draw.pick(THINGS), draw.pick(_QUALITIES), draw.pick(CITIES), draw.pick(WHENS), draw.chance(denied))
    return c if (valence(c) > 0) == draw.chance(good) else with_valence(draw, c, -valence(c))


def make_contrast(draw: Draw, good: float = 0.5) -> Contrast:
    """Two random opinions of different things, of which mostly one is good and one is bad; the one that wins is good so often."""
    yields, wins = make_claim(draw, 0.2), make_claim(draw, 0.2, good)
    wins = wins._replace(thing=draw.pick_other(THINGS, yields.thing), city=draw.pick_other(CITIES, yields.city))
    if (valence(yields) > 0) == (valence(wins) > 0) and draw.chance(0.8):
        yields = with_valence(draw, yields, -valence(yields))
    return Contrast(yields, wins, draw.pick(_FRAMES))


def with_valence(draw: Draw, c: Claim, value: int) -> Claim:
    """The claim with another quality, denied or not as before, so that it is as good or bad as the value's sign says."""
    wanted = (value > 0) != c.denied
    return c._replace(quality=draw.pick([q for q in _QUALITIES if (QUALITIES[q] > 0) == wanted and q != c.quality]))


def _two(draw: Draw) -> list[str]:
    """Two names, mostly in the order of the alphabet: where to begin for a model that is to compare orders."""
    first = draw.pick(NAMES)
    return sorted((first, draw.pick_other(NAMES, first)), reverse=draw.chance(1 - HINT))


def make_event(draw: Draw) -> Event:
    """A random event."""
    agent, patient = _two(draw)
    return Event(agent, draw.pick(ACTS), patient, draw.pick(CITIES))


def make_comparison(draw: Draw) -> Comparison:
    """A random comparison."""
    left, right = _two(draw)
    return Comparison(left, draw.pick(SCALES), right, draw.pick(RACES), draw.pick(CITIES), draw.pick(WHENS))
