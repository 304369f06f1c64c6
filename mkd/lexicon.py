"""The demo suite's words: what they mean (synonyms, opposites, hypernyms) and how they inflect.

A concept is named by its first word: `doctor/physician` is the concept "doctor" with two words for it.
"""

_NOUNS = """
person: worker artist child/kid
worker: doctor/physician nurse lawyer/attorney teacher/tutor farmer/grower guard/sentry
artist: painter singer/vocalist poet actor/performer
child: boy/lad girl/lass
animal/creature: dog/hound cat/feline bird horse/steed
dog: poodle beagle
cat: tabby
bird: robin eagle
object/thing: vehicle tool fruit
vehicle: car/automobile truck/lorry bike/bicycle
tool: hammer ladder
fruit: apple melon
"""
_DEEDS = """
-: move rest
move: run walk crawl
run: sprint/dash jog
walk: stroll/amble march
rest: sleep/slumber sit
speak/talk: whisper/murmur shout/yell
"""
_ACTS = (
    "chase/pursue greet/welcome visit notice/spot ignore/neglect praise/commend scold/rebuke help/assist hinder/impede "
    "push/shove pull/drag follow/trail thank blame/accuse admire/respect detest/despise"
)
_OTHER_VERBS = "buy/purchase sell lend borrow enjoy/savor like/love adore dislike/hate regret resent"
_ADJECTIVES = "tall short old young fast/quick slow strong weak rich/wealthy poor heavy light loud/noisy quiet happy sad"
_REVIEWED = "film/movie play book/novel song/tune meal/dinner hotel/inn plot/story ending"
_PLACES = "park garden/yard kitchen market office school/academy shop/store street/road forest/woods station"
_IRREGULAR_PLURALS = {"person": "people", "child": "children"}
_IRREGULAR_PASTS = {
    "buy": "bought", "dislike": "disliked", "drag": "dragged", "jog": "jogged", "lend": "lent", "run": "ran", "sell": "sold",
    "regret": "regretted", "sit": "sat", "sleep": "slept", "speak": "spoke", "spot": "spotted",
}  # fmt: skip
_IRREGULAR_COMPARATIVES = {"sad": "sadder"}

Synonyms = dict[str, tuple[str, ...]]


def _concepts(text: str) -> Synonyms:
    """The words of each concept, from items `first/second`; the first mention of a concept spells out its synonyms."""
    words: Synonyms = {}
    for item in text.replace(":", " ").split():
        words.setdefault(item.split("/")[0], tuple(item.split("/")))
    return {concept: synonyms for concept, synonyms in words.items() if concept != "-"}


def _parents(text: str) -> dict[str, str]:
    """The concept right above each concept, from lines `parent: child child`."""
    parents = {}
    for line in text.strip().splitlines():
        parent, children = line.split(":")
        parents.update({child.split("/")[0]: parent.split("/")[0] for child in children.split()})
    return parents


def _ancestors(concept: str, parents: dict[str, str]) -> tuple[str, ...]:
    """The concept itself, then all above it."""
    above = parents.get(concept, "-")
    return (concept,) if above == "-" else (concept, *_ancestors(above, parents))


def _exclusive(first: str, second: str) -> bool:
    """Whether nobody does both at once: on the way up they pass through different children of one deed."""
    pairs = ((a, b) for a in ABOVE[first] for b in ABOVE[second] if a != b)
    return any(a in PARENT and PARENT[a] == PARENT.get(b) for a, b in pairs)


def _plural(noun: str) -> str:
    return _IRREGULAR_PLURALS.get(noun) or _third(noun)


def _third(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("sh", "ch", "s")) else "s")


def _past(verb: str) -> str:
    regular = verb + "d" if verb.endswith("e") else verb[:-1] + "ied" if verb.endswith("fy") else verb + "ed"
    return _IRREGULAR_PASTS.get(verb, regular)


def _comparative(adjective: str) -> str:
    stem = adjective[:-1] + "i" if adjective.endswith("y") else adjective.removesuffix("e")
    return _IRREGULAR_COMPARATIVES.get(adjective, stem + "er")


NOUNS = _concepts(_NOUNS)
DEEDS = _concepts(_DEEDS)
ACTS = _concepts(_ACTS)
PLACES = _concepts(_PLACES)
SYNONYMS = NOUNS | DEEDS | ACTS | PLACES | _concepts(_OTHER_VERBS) | _concepts(_ADJECTIVES) | _concepts(_REVIEWED)
"""Concept -> the words for it; names of people are not listed: they are their own only word."""

PARENT = _parents(_NOUNS) | _parents(_DEEDS)
ABOVE = {concept: _ancestors(concept, PARENT) for concept in (*NOUNS, *DEEDS)}
"""Concept -> itself and its hypernyms, nearest first."""
BELOW = {concept: tuple(c for c in ABOVE if concept in ABOVE[c] and c != concept) for concept in ABOVE}
EXCLUSIVE = {a: tuple(b for b in DEEDS if _exclusive(a, b)) for a in DEEDS}
"""Deed -> the deeds nobody does at the same time."""

_OPPOSITE_ACTS = {"notice": "ignore", "praise": "scold", "help": "hinder", "push": "pull", "thank": "blame", "admire": "detest"}
_OPPOSITE_ADJECTIVES = {
    "tall": "short", "old": "young", "fast": "slow", "strong": "weak",
    "rich": "poor", "heavy": "light", "loud": "quiet", "happy": "sad",
}  # fmt: skip
OPPOSITE = _OPPOSITE_ACTS | _OPPOSITE_ADJECTIVES
OPPOSITE |= {second: first for first, second in OPPOSITE.items()}
SCALES = tuple(_OPPOSITE_ADJECTIVES)
"""One adjective of each pair of opposites."""

WOMEN = ("anna", "clara", "ellen", "mary", "nina", "ruth", "sofia", "vera")
MEN = ("adam", "boris", "david", "frank", "john", "leon", "oscar", "peter")
NAMES = WOMEN + MEN
ACTORS = tuple(noun for noun in NOUNS if len(ABOVE[noun]) > 1 and ABOVE[noun][-1] in ("person", "animal"))
LEAVES = tuple(n for n in ACTORS if not BELOW[n])
GOODS = tuple(n for n in BELOW["object"] if not BELOW[n])
TRAITS = ("black", "brown", "grey", "white", "hungry", "tired", "wet", "blind")
"""What a poodle has as a poodle, it has as a dog; `tall` is not of that sort."""
REVIEWED = tuple(_concepts(_REVIEWED))
POSITIVE = ("good", "great", "superb", "charming", "lovely", "brilliant", "funny", "clever", "pleasant", "moving")
NEGATIVE = ("bad", "awful", "terrible", "boring", "ugly", "dreadful", "silly", "clumsy", "tedious", "bland")
LIKING = ("enjoy", "like", "admire", "adore")
DISLIKING = ("dislike", "regret", "detest", "resent")

PLURAL = {word: _plural(word) for words in NOUNS.values() for word in words}
_VERBS = tuple(word for words in (DEEDS | ACTS | _concepts(_OTHER_VERBS)).values() for word in words)
THIRD = {verb: _third(verb) for verb in _VERBS}
PAST = {verb: _past(verb) for verb in _VERBS}
COMPARATIVE = {word: _comparative(word) for words in _concepts(_ADJECTIVES).values() for word in words}
