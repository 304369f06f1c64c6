"""The suite's words: what they mean (synonyms, opposites, hypernyms) and how they inflect; all of them regularly.

A concept is named by its first word: `doctor/physician` is the concept "doctor" with two words for it.
"""

from mkd.tasks.demo.draw import Draw

_NOUNS = {"worker": "doctor/physician teacher/tutor farmer", "animal": "dog/hound cat horse"}
_DEEDS = {"move": "walk/stroll crawl jump", "talk": "whisper mumble shout/yell"}
_ACTS = "chase/pursue greet/welcome help/assist praise"
_ADJECTIVES = "tall short old young fast/quick slow"
SYNONYM_SHARE = 0.1
"""How often a concept that has another word goes by it."""


def _concepts(text: str) -> dict[str, tuple[str, ...]]:
    return {item.split("/")[0]: tuple(item.split("/")) for item in text.split()}


def _third(verb: str) -> str:
    return verb + ("es" if verb.endswith(("sh", "ch")) else "s")


def _past(verb: str) -> str:
    return verb + ("d" if verb.endswith("e") else "ed")


_SYNONYMS = _concepts(" ".join((*_NOUNS, *_NOUNS.values(), *_DEEDS, *_DEEDS.values(), _ACTS, _ADJECTIVES)))
_WORDS = [word for words in _SYNONYMS.values() for word in words]

NOUNS = tuple(_concepts(" ".join(_NOUNS.values())))
DEEDS = tuple(_concepts(" ".join(_DEEDS.values())))
ACTS = tuple(_concepts(_ACTS))
NAMES = ("anna", "boris", "clara", "david")
"""Not listed among the synonyms: a name is its own only word."""
THINGS = ("film", "play", "book", "song", "meal", "hotel")
QUALITIES = {
    **dict.fromkeys(("superb", "brilliant"), 2),
    **dict.fromkeys(("good", "nice"), 1),
    **dict.fromkeys(("bad", "weak"), -1),
    **dict.fromkeys(("awful", "terrible"), -2),
}
"""What is said of a thing -> how well that speaks of it."""
TIMES = ("", "today", "yesterday", "often")
PARENT = {child: parent for parent, children in (_NOUNS | _DEEDS).items() for child in _concepts(children)}
"""Concept -> the wider one above it."""
CHILDREN = {parent: tuple(child for child in PARENT if PARENT[child] == parent) for parent in (*_NOUNS, *_DEEDS)}
OPPOSITE = {"tall": "short", "old": "young", "fast": "slow"}
SCALES = tuple(OPPOSITE)
"""One adjective of each pair of opposites."""
PLURAL = {word: word + "s" for word in _WORDS}
THIRD = {word: _third(word) for word in _WORDS}
PAST = {word: _past(word) for word in _WORDS}
COMPARATIVE = {word: word + "er" for word in _WORDS}


def word(draw: Draw, concept: str) -> str:
    """One of the concept's words, mostly the first."""
    first, *others = _SYNONYMS[concept]
    return draw.pick(others) if others and draw.chance(SYNONYM_SHARE) else first
