"""Meanings that several tasks share, events and comparisons, and the sentences that express them."""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.lexicon import ACTS, COMPARATIVE, NAMES, OPPOSITE, PAST, SCALES, TIMES, word


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


def say_event(draw: Draw, e: Event) -> str:
    """Active, or less often passive."""
    verb = word(draw, e.verb)
    if draw.chance(0.2):
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


def make_event(draw: Draw) -> Event:
    """A random event."""
    agent = draw.pick(NAMES)
    return Event(agent, draw.pick(ACTS), draw.pick_other(NAMES, agent), draw.pick(TIMES), draw.chance(0.25))


def make_comparison(draw: Draw) -> Comparison:
    """A random comparison."""
    left = draw.pick(NAMES)
    return Comparison(left, draw.pick(SCALES), draw.pick_other(NAMES, left), draw.chance(0.25))
