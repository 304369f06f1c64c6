"""Meanings that several tasks share, events and comparisons, and the sentences that express them."""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.lexicon import ACTS, COMPARATIVE, NAMES, OPPOSITE, PAST, SCALES, phrase, word


class Event(NamedTuple):
    """Somebody did, or did not do, something to somebody."""

    agent: str
    verb: str
    patient: str
    negated: bool = False


class Comparison(NamedTuple):
    """left > right on a scale named by its positive adjective; `denied`: left <= right."""

    left: str
    scale: str
    right: str
    denied: bool = False


def say_event(draw: Draw, e: Event) -> str:
    """Active, or less often passive."""
    agent, patient, verb = phrase(draw, e.agent), phrase(draw, e.patient), word(draw, e.verb)
    if draw.chance(0.3):
        return f"{patient} was {'not ' if e.negated else ''}{PAST[verb]} by {agent}"
    return f"{agent} {f'did not {verb}' if e.negated else PAST[verb]} {patient}"


def say_comparison(draw: Draw, c: Comparison) -> str:
    """From either side: `anna is taller than david`, `david is shorter than anna`."""
    left, right, adjective = phrase(draw, c.left), phrase(draw, c.right), c.scale
    if draw.chance(0.3):
        left, right, adjective = right, left, OPPOSITE[adjective]
    return f"{left} is {'not ' if c.denied else ''}{COMPARATIVE[word(draw, adjective)]} than {right}"


def cast(draw: Draw, size: int) -> list[str]:
    """So many different people or animals, all by name or all by noun."""
    members, chosen = NAMES, list[str]()
    while len(chosen) < size:
        chosen.append(draw.pick_other(members, *chosen))
    return chosen


def another(draw: Draw, *taken: str) -> str:
    """Somebody else, by name or by noun as those who are taken."""
    return draw.pick_other(NAMES, *taken)


def make_event(draw: Draw) -> Event:
    """A random event."""
    agent, patient = cast(draw, 2)
    return Event(agent, draw.pick(ACTS), patient, draw.chance(0.25))


def make_comparison(draw: Draw) -> Comparison:
    """A random comparison."""
    left, right = cast(draw, 2)
    return Comparison(left, draw.pick(SCALES), right, draw.chance(0.25))
