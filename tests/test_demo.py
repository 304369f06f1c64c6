"""The demo suite: its semantics by hand-worked cases, its rows by their invariants."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, product

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, matthews_corrcoef

from mkd.config import DemoConfig
from mkd.tasks import demo
from mkd.tasks.demo import acceptability, entailment, paraphrase, sentiment
from mkd.tasks.demo.acceptability import Phrase, Sentence
from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.entailment import Statement
from mkd.tasks.demo.forms import Claim, Comparison, Event, valence
from mkd.tasks.demo.sentiment import Contrast
from mkd.tasks.demo.similarity import similarity
from mkd.tasks.task import Row

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
def test_no_text_is_in_both_splits(task: str) -> None:
    train = {frozenset(row[:2]) for row in read(task, "train", replace(CONFIG, train_rows=2000))}
    dev = {frozenset(row[:2]) for row in read(task, "dev", replace(CONFIG, dev_rows=500))}
    assert train and dev and not train & dev


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


@pytest.mark.parametrize(
    ("opinion", "positive"),
    [
        (Claim("film", "good"), True),
        (Claim("film", "bad", denied=True), True),  # not bad
        (Claim("film", "good", denied=True), False),
        (Claim("film", "bad", denied=True, doubted=True), False),  # i doubt that it was not bad
        (Contrast(Claim("plot", "bad"), Claim("film", "good"), "but"), True),
        (Contrast(Claim("film", "good"), Claim("plot", "good", denied=True), "although"), False),
    ],
)
def test_denial_and_doubt_turn_an_opinion_round(opinion: Claim | Contrast, positive: bool) -> None:
    assert sentiment.is_positive(opinion) == positive


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        (Claim("film", "superb"), 2),
        (Claim("film", "nice"), 1),
        (Claim("film", "bad"), -1),
        (Claim("film", "awful"), -2),
        (Claim("film", "superb", denied=True), -1),  # not superb is bad, not awful
        (Claim("film", "awful", denied=True), 1),
        (Claim("film", "awful", denied=True, doubted=True), -1),
        (Claim("film", "superb", denied=True, doubted=True), 1),
    ],
)
def test_valence_by_hand(claim: Claim, value: int) -> None:
    assert valence(claim) == value


def test_the_winning_claim_stands_where_its_frame_puts_it() -> None:
    bad, good = Claim("ending", "bad"), Claim("ending", "good")
    said = {frame: sentiment.say(Draw(0), Contrast(bad, good, frame)) for frame in sentiment.FRAMES}
    for frame, wins_last in {"but": True, "although": True, "even though": False}.items():
        assert (said[frame].index("good") > said[frame].index("bad")) == wins_last


THE_BOY = Phrase("teacher", False)
DOGS = Sentence(Phrase("dog", True), "chase", THE_BOY, plural_verb=True)


@pytest.mark.parametrize(
    ("sentence", "acceptable"),
    [
        (DOGS, True),  # the dogs chase the teacher
        (DOGS._replace(plural_verb=False), False),
        (DOGS._replace(link=Phrase("cat", False)), True),  # the dogs near the cat chase
        (DOGS._replace(link=Phrase("cat", False), plural_verb=False), False),  # the dogs near the cat chases
        (DOGS._replace(subject=Phrase("dog", True, "these")), True),
        (DOGS._replace(subject=Phrase("dog", True, "this")), False),
        (DOGS._replace(object=Phrase("cat", False, "many")), False),
        (DOGS._replace(auxiliary="have", form="past"), True),
        (DOGS._replace(auxiliary="have", form="base"), False),
        (DOGS._replace(verb_last=True), False),
        (DOGS._replace(object=Phrase("cat", False, reversed=True)), False),
    ],
)
def test_every_broken_rule_makes_a_sentence_unacceptable(sentence: Sentence, acceptable: bool) -> None:
    assert acceptability.is_acceptable(sentence) == acceptable


def test_each_phenomenon_gives_an_acceptable_sentence_and_a_broken_one_of_other_words_in_order() -> None:
    draw = Draw(0)
    for _ in range(300):
        right, wrong = draw.pick(acceptability._PHENOMENA)(draw, acceptability.make_sentence(draw))
        assert acceptability.is_acceptable(right) and not acceptability.is_acceptable(wrong)
        assert acceptability.say(Draw(1), right) != acceptability.say(Draw(1), wrong)


def test_the_words_of_a_sentence_follow_its_form() -> None:
    attracted = DOGS._replace(link=Phrase("cat", False), plural_verb=False)
    texts = {acceptability.say(Draw(seed), attracted) for seed in range(300)}
    assert {"the dogs near the cat chases the teacher", "the hounds behind the cat chases the teacher"} <= texts
    words = product(["dogs", "hounds"], ["near", "behind"], ["chases", "pursues"], ["teacher", "tutor"])
    assert texts <= {f"the {dogs} {near} the cat {chases} the {teacher}" for dogs, near, chases, teacher in words}


def test_synonyms_voice_and_converses_realise_one_meaning() -> None:
    def texts(form: paraphrase.Form) -> set[str]:
        return {paraphrase.say(Draw(seed), form) for seed in range(300)}

    assert texts(Comparison("anna", "tall", "david")) == {"anna is taller than david", "david is shorter than anna"}
    assert texts(Comparison("anna", "tall", "david", True)) == {"anna is not taller than david", "david is not shorter than anna"}
    event = texts(Event("anna", "chase", "clara", denied=True))
    assert {"anna did not chase clara", "clara was not pursued by anna"} <= event
    assert not event & texts(Event("clara", "chase", "anna", denied=True))


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (Claim("film", "brilliant"), True),
        (Claim("film", "bad", denied=True), True),
        (Claim("film", "good", denied=True, doubted=True), True),
        (Claim("film", "bad"), False),
        (Claim("film", "good", denied=True), False),
        (Claim("song", "good"), False),
        (Event("anna", "chase", "clara"), False),
    ],
)
def test_opinions_are_paraphrases_where_both_speak_well_or_ill_of_one_thing(second: paraphrase.Form, same: bool) -> None:
    assert paraphrase.is_paraphrase(Claim("film", "good"), second) == same


def test_a_restatement_keeps_the_meaning() -> None:
    draw = Draw(0)
    for _ in range(500):
        form = paraphrase.make_form(draw)
        assert paraphrase.is_paraphrase(form, paraphrase.restate(draw, form))


def test_swapped_roles_are_no_paraphrase_and_every_alteration_changes_the_meaning() -> None:
    assert not paraphrase.is_paraphrase(Event("anna", "chase", "clara"), Event("clara", "chase", "anna"))
    assert paraphrase.is_paraphrase(Comparison("anna", "tall", "clara"), Comparison("anna", "tall", "clara"))
    draw = Draw(0)
    for _ in range(500):
        form = paraphrase.make_form(draw)
        assert not paraphrase.is_paraphrase(form, paraphrase.alter(draw, form))


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (Statement("all", "dog", "walk"), Statement("some", "dog", "walk"), 0),
        (Statement("some", "dog", "walk"), Statement("all", "dog", "walk"), 1),
        (Statement("all", "animal", "walk"), Statement("all", "dog", "walk"), 0),
        (Statement("all", "dog", "walk"), Statement("all", "animal", "walk"), 1),
        (Statement("some", "dog", "walk"), Statement("some", "animal", "move"), 0),
        (Statement("no", "animal", "move"), Statement("no", "dog", "walk"), 0),
        (Statement("all", "dog", "walk"), Statement("no", "dog", "crawl"), 0),
        (Statement("all", "dog", "walk"), Statement("some", "dog", "crawl"), 2),
        (Statement("all", "dog", "walk"), Statement("all", "dog", "walk", "black"), 0),
        (Statement("some", "dog", "walk"), Statement("some", "dog", "walk", "black"), 1),
        (Statement("not all", "dog", "walk"), Statement("no", "dog", "walk"), 1),
        (Statement("not all", "dog", "move"), Statement("all", "animal", "walk"), 2),
        (Statement("one", "clara", "walk"), Statement("one", "clara", "crawl"), 2),
        (Statement("not one", "clara", "move"), Statement("not one", "clara", "walk"), 0),
        (Statement("not one", "clara", "walk"), Statement("one", "clara", "move"), 1),
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
    (first, second), (of, to) = {0: ("dog", "dog"), 1: ("dog", "animal"), -1: ("animal", "dog")}[noun], pair.split()
    for (i, p), (j, h) in product(enumerate(TRUE), repeat=2):
        outcomes = {after[j] for before, after in models if before[i]}
        expected = 1 if len(outcomes) == 2 else 0 if True in outcomes else 2
        assert entailment.inference(Statement(p, first, of), Statement(h, second, to)) == expected, (p, h)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (Comparison("a", "tall", "b"), Comparison("a", "tall", "b"), 0),
        (Comparison("a", "tall", "b"), Comparison("a", "tall", "b", denied=True), 2),
        (Comparison("a", "tall", "b"), Comparison("b", "tall", "a"), 2),
        (Comparison("a", "tall", "b"), Comparison("b", "tall", "a", denied=True), 0),
        (Comparison("a", "tall", "b", denied=True), Comparison("b", "tall", "a"), 1),
        (Comparison("a", "tall", "b", denied=True), Comparison("b", "tall", "a", denied=True), 1),
        (Comparison("a", "tall", "b"), Comparison("a", "old", "b"), 1),
        (Comparison("a", "tall", "b"), Comparison("a", "tall", "c"), 1),
    ],
)
def test_comparison_by_hand(premise: Comparison, hypothesis: Comparison, label: int) -> None:
    assert entailment.compare(premise, hypothesis) == label


@pytest.mark.parametrize(
    ("second", "score"),
    [
        (Claim("film", "nice"), 5.0),
        (Claim("film", "weak", denied=True), 5.0),  # not weak is good
        (Claim("film", "superb"), 3.75),
        (Claim("film", "bad"), 2.5),
        (Claim("film", "terrible"), 1.25),
        (Claim("song", "superb"), 1.875),  # of another thing: half
    ],
)
def test_similarity_by_hand(second: Claim, score: float) -> None:
    assert similarity(Claim("film", "good"), second) == pytest.approx(score)
    assert similarity(second, Claim("film", "good")) == pytest.approx(score)


# Difficulty


def features(rows: list[Row], words: TfidfVectorizer) -> csr_matrix:
    """Word weights; of a pair those of both sides, their product and their difference."""
    a = words.transform([row.text_a for row in rows])
    if rows[0].text_b is None:
        return a
    b = words.transform([row.text_b for row in rows])
    return hstack([a, b, a.multiply(b), abs(a - b)]).tocsr()


@pytest.mark.parametrize(
    ("task", "bound"),
    [("sentiment", 0.75), ("acceptability", 0.4), ("paraphrase", 0.6), ("entailment", 0.7), ("similarity", 0.6)],
)
def test_bag_of_words_stays_below_its_bound(task: str, bound: float) -> None:
    config = replace(CONFIG, train_rows=2000, unlabelled_rows=0, dev_rows=600)
    train, dev = read(task, "train", config), read(task, "dev", config)
    words = TfidfVectorizer(token_pattern=r"\S+").fit([f"{row.text_a} {row.text_b}" for row in train])
    truth = [row.label for row in dev]
    model = LogisticRegression(max_iter=300) if demo.TASKS[task].labels else Ridge()
    predicted = model.fit(features(train, words), [row.label for row in train]).predict(features(dev, words))
    if task == "similarity":
        assert spearmanr(predicted, truth)[0] < bound
    else:
        assert (matthews_corrcoef if task == "acceptability" else accuracy_score)(truth, predicted) < bound
