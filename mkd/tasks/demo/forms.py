"""Meanings that several tasks share, opinions, events and comparisons, and the sentences that express them."""

from typing import NamedTuple

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.lexicon import ACTS, COMPARATIVE, NAMES, OPPOSITE, PAST, QUALITIES, SCALES, THINGS, TIMES, word


class Claim(NamedTuple):
    """An opinion of one thing; `denied` turns it round, as does a `doubt` cast on the whole claim."""

    thing: str
    quality: str
    denied: bool = False
    doubted: bool = False


class Event(NamedTuple):
    """Somebody did, or did not do, something to somebody."""

    agent: str
    verb: str
    patient: str
    time: str = ""
    denied: bool = False


class Comparison(NamedTuple):
    """left > right on a scale named by its positive adjective; `denied`: left <= right."""

    left: str
    scale: str
    right: str
    denied: bool = False


_DENIALS = ("was not", "was not", "was hardly", "was never")
_DEGREES = ("", "", "", "rather ", "really ")


def valence(c: Claim) -> int:
    """From -2 (awful) over -1 (bad) and 1 (good) to 2 (superb); what is not bad, or not awful, is good."""
    value = QUALITIES[c.quality]
    for turned in (c.denied, c.doubted):
        if turned:
            value = -1 if value > 0 else 1
    return value


def say_claim(draw: Draw, c: Claim) -> str:
    """A sentence for the opinion."""
    verb = draw.pick(_DENIALS) if c.denied else "was"
    lead = "i doubt that " if c.doubted else "i think that " if draw.chance(0.1) else ""
    return f"{lead}the {c.thing} {verb} {draw.pick(_DEGREES)}{c.quality}"


def say_event(draw: Draw, e: Event) -> str:
    """Active, or less often passive."""
    verb = word(draw, e.verb)
    if draw.chance(0.3):
        text = f"{e.patient} was {'not ' if e.denied else ''}{PAST[verb]} by {e.agent}"
    else:
        text = f"{e.agent} {f'did not {verb}' if e.denied else PAST[verb]} {e.patient}"
    return f"{text} {e.time}".strip()


def say_comparison(draw: Draw, c: Comparison) -> str:
    """From either side: `anna is taller than david`, `david is shorter than anna`."""
    left, right, adjective = c.left, c.right, c.scale
    if draw.chance(0.4):
        left, right, adjective = right, left, OPPOSITE[adjective]
    return f"{left} is {'not ' if c.denied else ''}{COMPARATIVE[word(draw, adjective)]} than {right}"


def make_claim(draw: Draw, doubt: float) -> Claim:
    """A random opinion, doubted so often."""
    return Claim(draw.pick(THINGS), draw.pick(tuple(QUALITIES)), draw.chance(0.2), draw.chance(doubt))


def make_event(draw: Draw) -> Event:
    """A random event."""
    agent = draw.pick(NAMES)
    return Event(agent, draw.pick(ACTS), draw.pick_other(NAMES, agent), draw.pick(TIMES), draw.chance(0.25))


def make_comparison(draw: Draw) -> Comparison:
    """A random comparison."""
    left = draw.pick(NAMES)
    return Comparison(left, draw.pick(SCALES), draw.pick_other(NAMES, left), draw.chance(0.25))
