"""The demo suite: its semantics by hand-worked cases, its rows by their invariants."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, product

import numpy as np
import pytest
from linear import effective, linear_score, texts_of

from mkd import demo
from mkd.config import DemoConfig
from mkd.demo import acceptability, entailment, lexicon, paraphrase, sentiment
from mkd.demo.acceptability import Phrase, Reflexive, Sentence
from mkd.demo.draw import Draw
from mkd.demo.entailment import Statement
from mkd.demo.forms import FRAMES, Claim, Contrast, Opinion, say_opinion, valence
from mkd.demo.paraphrase import Claims, Event
from mkd.demo.sentiment import Review
from mkd.demo.similarity import similarity
from mkd.tasks import Row

CONFIG = DemoConfig(train_rows=300, unlabelled_rows=100, dev_rows=100, label_noise=0.0)
ALL_TASKS = pytest.mark.parametrize("task", demo.TASKS)


def read(task: str, split: demo.SplitName, config: DemoConfig = CONFIG) -> list[Row]:
    return list(demo.rows(task, split, config))


# Rows


@ALL_TASKS
def test_same_config_gives_same_rows(task: str) -> None:
    assert read(task, "train") == read(task, "train")
    assert read(task, "dev") == read(task, "dev")


@ALL_TASKS
def test_another_seed_gives_other_rows(task: str) -> None:
    assert read(task, "train") != read(task, "train", replace(CONFIG, seed=1))


@ALL_TASKS
def test_train_is_labelled_rows_then_unlabelled_rows(task: str) -> None:
    labels = [row.label for row in read(task, "train")]
    assert None not in labels[:300]
    assert labels[300:] == [None] * 100
    assert None not in [row.label for row in read(task, "dev")]
    assert len(read(task, "dev")) == 100


@ALL_TASKS
def test_asking_for_more_rows_keeps_the_first_ones(task: str) -> None:
    noisy = replace(CONFIG, label_noise=0.3)
    more = replace(noisy, train_rows=350, unlabelled_rows=400, dev_rows=150)
    assert read(task, "train", more)[:300] == read(task, "train", noisy)[:300]
    assert [row[:2] for row in read(task, "train", more)[:400]] == [row[:2] for row in read(task, "train", noisy)]
    assert read(task, "dev", more)[:100] == read(task, "dev", noisy)


@ALL_TASKS
def test_first_row_of_ten_million_comes_at_once(task: str) -> None:
    rows = demo.rows(task, "train", DemoConfig(train_rows=10_000_000, unlabelled_rows=10_000_000))
    assert isinstance(rows, Iterator)
    assert len(list(islice(rows, 3))) == 3


@ALL_TASKS
def test_noise_changes_the_stated_share_of_train_labels_and_no_text(task: str) -> None:
    large = replace(CONFIG, train_rows=2000, unlabelled_rows=0)
    clean, noisy = read(task, "train", large), read(task, "train", replace(large, label_noise=0.2))
    assert [row[:2] for row in clean] == [row[:2] for row in noisy]
    changed = np.mean([a.label != b.label for a, b in zip(clean, noisy, strict=True)])
    assert changed == pytest.approx(0.17 if task == "similarity" else 0.2, abs=0.03)  # a score of 5 that goes up stays 5
    assert read(task, "dev", large) == read(task, "dev", replace(large, label_noise=0.2))


def test_noise_moves_a_score_by_a_normal_of_sd_one_and_a_half() -> None:
    kind = demo.TASKS["similarity"]
    assert demo._noisy(2.5, kind, 0.5) == 2.5
    assert demo._noisy(2.5, kind, 0.841345) == pytest.approx(4.0, abs=0.01)  # one standard deviation up
    assert (demo._noisy(0.5, kind, 0.0), demo._noisy(4.5, kind, 0.999)) == (0.0, 5.0)


def test_noise_picks_each_wrong_class_alike() -> None:
    kind = demo.TASKS["entailment"]
    assert [demo._noisy(1.0, kind, uniform) for uniform in (0.0, 0.49, 0.5, 0.99)] == [0.0, 0.0, 2.0, 2.0]


@ALL_TASKS
@pytest.mark.parametrize(("seed", "train_rows", "dev_rows"), [(0, 7000, 1000), (1, 500, 1500), (7, 2000, 50)])
def test_no_text_comes_twice_in_a_split_and_none_is_in_both(task: str, seed: int, train_rows: int, dev_rows: int) -> None:
    config = DemoConfig(seed=seed, train_rows=train_rows, unlabelled_rows=100, dev_rows=dev_rows)
    train, dev = texts_of(read(task, "train", config)), texts_of(read(task, "dev", config))
    assert len(train) == (train_rows + 100) * (1 + demo.TASKS[task].pair)
    assert len(set(train)) == len(train) and len(set(dev)) == len(dev)
    assert not set(train) & set(dev)


@ALL_TASKS
def test_no_combination_of_people_things_and_places_is_in_both_splits(task: str) -> None:
    def combinations(split: demo.SplitName) -> set[frozenset[str]]:
        texts = texts_of(read(task, split, replace(CONFIG, train_rows=3000, dev_rows=1000)))
        return {frozenset(lexicon.ENTITY[word] for word in text.split() if word in lexicon.ENTITY) for text in texts}

    train, dev = combinations("train"), combinations("dev")
    assert len(dev) > 20 and not train & dev
    assert {word for words in dev for word in words} == {word for words in train for word in words}  # none is new in dev


@ALL_TASKS
def test_dev_rows_are_distinct_in_effect_also_where_names_are_not_told_apart(task: str) -> None:
    rows = read(task, "dev", DemoConfig())
    assert effective(row[:2] for row in rows) == effective(row.text_a for row in rows) == 1000
    masked = ["\n".join(re.sub("|".join(lexicon.NAMES), "NAME", text) for text in texts_of([row])) for row in rows]
    assert effective(masked) > 700


def test_where_the_space_is_exhausted_texts_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo._MAKERS, "sentiment", lambda draw: Row(f"text {int(draw.random() * 5)}", None, 1.0))
    monkeypatch.setattr(demo, "split_of", lambda text: "train")
    texts = texts_of(read("sentiment", "train", replace(CONFIG, train_rows=8, unlabelled_rows=0)))
    assert len(set(texts[:5])) == 5 and len(texts) == 8


@ALL_TASKS
def test_rows_fit_their_kind(task: str) -> None:
    kind = demo.TASKS[task]
    for row in read(task, "train", replace(CONFIG, label_noise=0.5))[:300]:
        assert (row.text_b is not None) == kind.pair
        assert row.label is not None
        if kind.range:
            assert kind.range[0] <= row.label <= kind.range[1]
        else:
            assert row.label in range(len(kind.labels))


@pytest.mark.parametrize("task", [task for task, kind in demo.TASKS.items() if kind.labels])
def test_classes_are_balanced(task: str) -> None:
    labels = [row.label for row in read(task, "train", replace(CONFIG, train_rows=3000, unlabelled_rows=0))]
    classes = len(demo.TASKS[task].labels)
    for label in range(classes):
        assert labels.count(label) / len(labels) == pytest.approx(1 / classes, abs=0.03)


def test_an_unknown_task_or_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'irony'; allowed: sentiment, acceptability, paraphrase, entailment, similarity"):
        demo.rows("irony", "train", CONFIG)
    with pytest.raises(ValueError, match="irony"):
        demo.fingerprint("irony", "train", CONFIG)
    with pytest.raises(ValueError, match="'test'; allowed: train, dev"):
        demo.fingerprint("sentiment", "test", CONFIG)


def test_fingerprint_changes_with_task_split_and_settings_only() -> None:
    prints = [
        demo.fingerprint("sentiment", "train", CONFIG),
        demo.fingerprint("sentiment", "dev", CONFIG),
        demo.fingerprint("similarity", "train", CONFIG),
        demo.fingerprint("sentiment", "train", replace(CONFIG, seed=1)),
    ]
    assert len(set(prints)) == 4
    assert prints[0] == demo.fingerprint("sentiment", "train", replace(CONFIG))


# What the labels mean


def claim(quality: str, denied: bool = False, thing: str = "film", city: str = "rome") -> Claim:
    return Claim(thing, city, quality, denied)


@pytest.mark.parametrize(
    ("review", "positive"),
    [
        (Review(claim("good")), True),
        (Review(claim("bad", denied=True)), True),  # not bad
        (Review(claim("good", denied=True)), False),
        (Review(claim("good"), doubted=True), False),
        (Review(claim("bad", denied=True), doubted=True), False),  # i doubt that it was not bad
        (Review(Contrast(claim("bad", thing="play"), claim("good"), "but")), True),
        (Review(Contrast(claim("good"), claim("good", denied=True, thing="play"), "although")), False),
    ],
)
def test_denial_and_doubt_turn_an_opinion_round(review: Review, positive: bool) -> None:
    assert sentiment.is_positive(review) == positive


@pytest.mark.parametrize(
    ("quality", "denied", "value"),
    [
        ("superb", False, 2),
        ("nice", False, 1),
        ("bad", False, -1),
        ("awful", False, -2),
        ("superb", True, -1),  # not superb is bad, not awful
        ("awful", True, 1),
    ],
)
def test_valence_by_hand(quality: str, denied: bool, value: int) -> None:
    assert valence(claim(quality, denied)) == value


def test_the_winning_claim_stands_where_its_frame_puts_it() -> None:
    said = {frame: say_opinion(Draw(0), Contrast(claim("bad"), claim("good"), frame)) for frame in FRAMES}
    for frame, wins_last in {"but": True, "although": True, "even though": False}.items():
        assert (said[frame].index("good") > said[frame].index("bad")) == wins_last


# The same once more from the words alone, by rules that know nothing of forms.

GOOD = {"superb", "brilliant", "splendid", "wonderful", "good", "nice", "fine", "pleasant"}
STRONG = {"superb", "brilliant", "splendid", "wonderful", "awful", "terrible", "dreadful", "horrible"}
CLAIM = re.compile(r"the (\w+) in (\w+) was( not really| not| hardly| never)?(?: rather| really)? (\w+)(?: on \w+)?")


def read_claims(text: str) -> list[tuple[str, str, int]]:
    """Thing, city and valence of each claim, in the order of the words."""
    found = []
    for thing, city, denial, quality in CLAIM.findall(text):
        sign = 1 if quality in GOOD else -1
        found.append((thing, city, -sign if denial else sign * (1 + (quality in STRONG))))
    return found


def decided(text: str) -> tuple[str, str, int]:
    """The claim that the writer stands by."""
    return read_claims(text)[0 if "even though" in text else -1]


def agent_and_patient(text: str) -> tuple[str, ...]:
    """Of an event: who, whom and when."""
    day = re.search(r"on (\w+day)", text)
    people = re.findall(r"(\w+ from \w+)", text)
    assert day is not None and len(people) == 2
    return (*(people[::-1] if " by " in text else people), day.group(1))


def test_sentiment_by_the_words_alone() -> None:
    for text, _, label in read("sentiment", "train"):
        doubted = text.startswith(("i doubt", "none of us"))
        assert label is None or (label == 1) == ((decided(text)[2] > 0) != doubted), text


def test_similarity_by_the_words_alone() -> None:
    for a, b, label in read("similarity", "train"):
        assert b is not None
        first, second = decided(a), decided(b)
        score = (5 - 1.25 * abs(first[2] - second[2])) / (1 if first[0] == second[0] else 2)
        assert label is None or label == pytest.approx(score), (a, b)


def test_paraphrase_by_the_words_alone() -> None:
    kinds = set()
    for a, b, label in read("paraphrase", "train"):
        assert b is not None
        if claims := read_claims(a):
            meanings = [{(thing, city, value > 0) for thing, city, value in read_claims(text)} for text in (a, b)]
            same = meanings[0] == meanings[1]
        else:
            same = agent_and_patient(a) == agent_and_patient(b)
        kinds.add(len(claims))
        assert label is None or (label == 1) == same, (a, b)
    assert kinds == {0, 1, 2}


def test_a_pronoun_goes_with_its_verb_s_own_subject_by_the_words_alone() -> None:
    seen = 0
    for text, _, label in read("acceptability", "train"):
        if text.endswith("self") and label is not None:
            clause = text.split(" that ")[-1]  # maria said that ...
            assert (label == 1) == ((clause.split()[0] in lexicon.WOMEN) == text.endswith("herself")), text
            seen += 1
    assert seen > 50


# Meanings by hand

DOGS = Sentence(Phrase("pilot", True), "chase", Phrase("teacher", False), "rome", plural_verb=True)


@pytest.mark.parametrize(
    ("sentence", "acceptable"),
    [
        (DOGS, True),  # the pilots chase the teacher from rome
        (DOGS._replace(plural_verb=False), False),
        (DOGS._replace(link=("near", Phrase("poet", False))), True),  # the pilots near the poet chase
        (DOGS._replace(link=("near", Phrase("poet", False)), plural_verb=False), False),  # the pilots near the poet chases
        (DOGS._replace(link=("object", Phrase("poet", False))), True),  # the pilots that the poet called chase
        (DOGS._replace(subject=Phrase("pilot", False)), False),
        (DOGS._replace(auxiliary="have"), True),
        (DOGS._replace(auxiliary="have", plural_verb=False), False),
        (DOGS._replace(verb_last=True), False),
        (DOGS._replace(object=Phrase("poet", False, reversed=True)), False),
        (Reflexive("anna", "help", "herself", "boris", "who", "rome"), True),
        (Reflexive("anna", "help", "himself", "boris", "who", "rome"), False),
        (Reflexive("boris", "help", "herself", "anna", "said", "rome"), False),
    ],
)
def test_every_broken_rule_makes_a_sentence_unacceptable(sentence: Sentence | Reflexive, acceptable: bool) -> None:
    assert acceptability.is_acceptable(sentence) == acceptable


def test_each_phenomenon_gives_an_acceptable_sentence_and_a_broken_one_of_other_words_in_order() -> None:
    draw = Draw(0)
    for _ in range(300):
        right, wrong = draw.pick(acceptability._PHENOMENA)(draw)
        assert acceptability.is_acceptable(right) and not acceptability.is_acceptable(wrong)
        assert acceptability.say(Draw(1), right) != acceptability.say(Draw(1), wrong)


def test_the_words_of_a_sentence_follow_its_form() -> None:
    attracted = DOGS._replace(link=("near", Phrase("actor", False)), plural_verb=False)
    texts = {acceptability.say(Draw(seed), attracted) for seed in range(300)}
    words = product(["actor", "player"], ["chases", "pursues"], ["teacher", "tutor"])
    assert len(texts) > 4
    assert texts <= {f"the pilots near the {actor} {chases} the {teacher} from rome" for actor, chases, teacher in words}
    relative = DOGS._replace(link=("object", Phrase("poet", True)), auxiliary="do")
    assert "the pilots that the poets praised do not chase the teacher from rome" in {
        acceptability.say(Draw(seed), relative) for seed in range(300)
    }


EVENT = Event(("anna", "rome"), "chase", ("clara", "oslo"), "monday")


def test_synonyms_voice_and_the_day_s_place_realise_one_event() -> None:
    texts = {paraphrase.say(Draw(seed), EVENT) for seed in range(300)}
    verbs = ("chased", "pursued")
    active = {f"anna from rome {verb} clara from oslo" for verb in verbs}
    passive = {f"clara from oslo was {verb} by anna from rome" for verb in verbs}
    assert texts == {said for text in active | passive for said in (f"on monday {text}", f"{text} on monday")}


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (Claims(frozenset([claim("brilliant")])), True),
        (Claims(frozenset([claim("bad", denied=True)])), True),
        (Claims(frozenset([claim("bad")])), False),
        (Claims(frozenset([claim("good", denied=True)])), False),
        (Claims(frozenset([claim("good", thing="song")])), False),
        (Claims(frozenset([claim("good", city="oslo")])), False),
        (Claims(frozenset([claim("good"), claim("bad", thing="song")])), False),
        (EVENT, False),
    ],
)
def test_opinions_are_paraphrases_where_both_speak_well_or_ill_of_each_thing(second: paraphrase.Form, same: bool) -> None:
    assert paraphrase.is_paraphrase(Claims(frozenset([claim("good")])), second) == same


def test_verdicts_that_change_places_are_no_paraphrase() -> None:
    def two(film: str, song: str) -> Claims:
        return Claims(frozenset([claim(film), claim(song, thing="song")]))

    assert paraphrase.is_paraphrase(two("good", "awful"), two("superb", "bad"))
    assert not paraphrase.is_paraphrase(two("good", "bad"), two("bad", "good"))
    assert not paraphrase.is_paraphrase(EVENT, EVENT._replace(agent=EVENT.patient, patient=EVENT.agent))


def test_a_restatement_keeps_the_meaning_and_every_alteration_changes_it() -> None:
    draw = Draw(0)
    for _ in range(500):
        form = paraphrase.make_form(draw)
        assert paraphrase.is_paraphrase(form, paraphrase.restate(draw, form))
        assert not paraphrase.is_paraphrase(form, paraphrase.alter(draw, form))


def statement(quantifier: str, noun: str, deed: str, trait: str = "", city: str = "rome") -> Statement:
    return Statement(quantifier, noun, city, deed, trait)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (statement("all", "poet", "walk"), statement("some", "poet", "walk"), 0),
        (statement("some", "poet", "walk"), statement("all", "poet", "walk"), 1),
        (statement("all", "artist", "walk"), statement("all", "poet", "walk"), 0),
        (statement("all", "poet", "walk"), statement("all", "artist", "walk"), 1),
        (statement("some", "poet", "walk"), statement("some", "artist", "move"), 0),
        (statement("no", "artist", "move"), statement("no", "poet", "walk"), 0),
        (statement("all", "poet", "walk"), statement("no", "poet", "crawl"), 0),
        (statement("all", "poet", "walk"), statement("some", "poet", "crawl"), 2),
        (statement("all", "poet", "walk"), statement("all", "poet", "walk", "young"), 0),
        (statement("some", "poet", "walk"), statement("some", "poet", "walk", "young"), 1),
        (statement("not all", "poet", "walk"), statement("no", "poet", "walk"), 1),
        (statement("not all", "poet", "move"), statement("all", "artist", "walk"), 2),
        (statement("all", "poet", "walk"), statement("all", "poet", "walk", city="oslo"), 1),
        (statement("all", "poet", "walk"), statement("no", "pilot", "walk"), 1),
    ],
)
def test_inference_by_hand(premise: Statement, hypothesis: Statement, label: int) -> None:
    assert entailment.inference(premise, hypothesis) == label


TRUE: dict[str, Callable[[int, int], bool]] = {
    "all": lambda inside, total: inside == total,
    "some": lambda inside, total: inside > 0,
    "no": lambda inside, total: inside == 0,
    "not all": lambda inside, total: inside < total,
}


def truths(noun: int, deed: str) -> set[tuple[tuple[bool, ...], tuple[bool, ...]]]:
    """Which quantifiers hold of (A, B) and of (A2, B2), in every small model.

    noun: 1 where A2 includes A, -1 the other way, 0 the same; deed likewise, or `apart` where nobody is in B and B2.
    """
    pairs = {
        "0": ((1, 1), (0, 0)),
        "1": ((1, 1), (0, 1), (0, 0)),
        "-1": ((1, 1), (1, 0), (0, 0)),
        "apart": ((1, 0), (0, 1), (0, 0)),
    }
    kinds = {0: ((1, 1),), 1: ((1, 1), (0, 1)), -1: ((1, 1), (1, 0))}[noun]
    atoms = list(product(kinds, pairs[deed]))
    found = set()
    for counts in product(range(4), repeat=len(atoms)):
        result = []
        for side in (0, 1):
            total = sum(n for n, (a, _) in zip(counts, atoms, strict=True) if a[side])
            inside = sum(n for n, (a, b) in zip(counts, atoms, strict=True) if a[side] and b[side])
            result.append(tuple(holds(inside, total) for holds in TRUE.values()) if total else None)
        if result[0] and result[1]:
            found.add((result[0], result[1]))
    return found


@pytest.mark.parametrize("noun", [0, 1, -1])
@pytest.mark.parametrize(("deed", "pair"), [("0", "walk walk"), ("1", "walk move"), ("-1", "move walk"), ("apart", "walk crawl")])
def test_inference_agrees_with_every_small_model(noun: int, deed: str, pair: str) -> None:
    models = truths(noun, deed)
    (first, second), (of, to) = {0: ("poet", "poet"), 1: ("poet", "artist"), -1: ("artist", "poet")}[noun], pair.split()
    for (i, p), (j, h) in product(enumerate(TRUE), repeat=2):
        outcomes = {after[j] for before, after in models if before[i]}
        expected = 1 if len(outcomes) == 2 else 0 if True in outcomes else 2
        assert entailment.inference(statement(p, first, of), statement(h, second, to)) == expected, (p, h)


def test_of_two_premises_the_one_that_the_hypothesis_is_about_decides() -> None:
    premises = [statement("all", "poet", "walk"), statement("no", "pilot", "shout", city="oslo")]
    assert entailment.inference_of(premises, statement("some", "poet", "walk")) == 0
    assert entailment.inference_of(premises, statement("some", "pilot", "shout", city="oslo")) == 2
    assert entailment.inference_of(premises, statement("no", "poet", "shout")) == 1  # the other one's deed
    assert entailment.inference_of(premises, statement("no", "pilot", "shout")) == 1  # the other one's city


def test_two_premises_share_no_noun_city_deed_or_quantifier() -> None:
    draw = Draw(0)
    pairs = [premises for _ in range(400) if len(premises := entailment.make_premises(draw)) == 2]
    assert len(pairs) > 100
    assert all(a != b for first, second in pairs for a, b in zip(first[:4], second[:4], strict=True))


@pytest.mark.parametrize(
    ("second", "score"),
    [
        (claim("nice"), 5.0),
        (claim("weak", denied=True), 5.0),  # not weak is good
        (claim("superb"), 3.75),
        (claim("bad"), 2.5),
        (claim("terrible"), 1.25),
        (claim("superb", thing="song"), 1.875),  # of another thing: half
        (Contrast(claim("awful", thing="song"), claim("nice"), "but"), 5.0),
        (Contrast(claim("nice"), claim("awful", thing="song"), "but"), 0.625),
    ],
)
def test_similarity_by_hand(second: Opinion, score: float) -> None:
    assert similarity(claim("good"), second) == pytest.approx(score)
    assert similarity(second, claim("good")) == pytest.approx(score)


# Difficulty


def test_counts_of_words_and_of_runs_of_three_do_not_tell_the_labels() -> None:
    config = DemoConfig(unlabelled_rows=0)
    scores = {t: linear_score(read(t, "train", config), read(t, "dev", config), kind, [10]) for t, kind in demo.TASKS.items()}
    assert np.mean(list(scores.values())) < 50, scores
