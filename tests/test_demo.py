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

from mkd import demo
from mkd.config import DemoConfig
from mkd.demo import Claim, Comparison, Contrast, Draw, Event, Link, Report, Sentence, Statement, Transfer
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
    assert changed == pytest.approx(0.2, abs=0.03)
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
        (Claim("film", "like"), True),
        (Claim("film", "dislike", denied=True), True),  # nobody disliked it
        (Contrast(Claim("plot", "bad"), Claim("film", "good"), "but"), True),
        (Contrast(Claim("film", "good"), Claim("plot", "good", denied=True), "although"), False),
        (Report(Claim("film", "good"), agreed=False), False),
        (Report(Claim("film", "good", denied=True), agreed=False), True),
    ],
)
def test_denial_doubt_and_disagreement_turn_an_opinion_round(opinion: Claim | Contrast | Report, positive: bool) -> None:
    assert demo.is_positive(opinion) == positive


def test_the_winning_claim_stands_where_its_frame_puts_it() -> None:
    bad, good = Claim("ending", "bad"), Claim("ending", "good")
    said = {frame: demo.say_opinion(Draw(0), Contrast(bad, good, frame)) for frame in demo.FRAMES}
    for frame, wins_last in {"but": True, "although": True, "even though": False, "mine last": True, "mine first": False}.items():
        assert (said[frame].index("good") > said[frame].index("bad")) == wins_last


DOGS = Sentence("poodle", True, "chase", object="boy", plural_verb=True)


@pytest.mark.parametrize(
    ("sentence", "acceptable"),
    [
        (DOGS, True),  # the poodles chase the boy
        (DOGS._replace(plural_verb=False), False),
        (DOGS._replace(links=(Link("nurse", False),)), True),  # the poodles near the nurse chase
        (DOGS._replace(links=(Link("nurse", False),), plural_verb=False), False),  # the poodles near the nurse chases
        (DOGS._replace(determiner="these"), True),
        (DOGS._replace(determiner="this"), False),
        (DOGS._replace(auxiliary="have", form="past"), True),
        (DOGS._replace(auxiliary="have", form="base"), False),
        (DOGS._replace(object=""), False),
        (DOGS._replace(verb="sleep"), False),
        (DOGS._replace(verb="sleep", object=""), True),
        (DOGS._replace(links=(Link("nurse", False, verb="praise", filled="boy"),)), False),  # that the nurse praised the boy
        (DOGS._replace(object="themselves"), True),
        (DOGS._replace(object="himself"), False),
        (Sentence("mary", False, "praise", object="herself"), True),
        (Sentence("mary", False, "praise", object="himself"), False),
        (DOGS._replace(ever=True), False),
        (DOGS._replace(ever=True, determiner="no"), True),
        (DOGS._replace(ever=True, links=(Link("nurse", False, determiner="no"),)), False),  # the poodles near no nurse ever chase
        (DOGS._replace(order="verb"), False),
    ],
)
def test_every_broken_rule_makes_a_sentence_unacceptable(sentence: Sentence, acceptable: bool) -> None:
    assert demo.is_acceptable(sentence) == acceptable


def test_each_phenomenon_gives_an_acceptable_sentence_and_a_broken_one_of_other_words_in_order() -> None:
    draw = Draw(0)
    for _ in range(300):
        right, wrong = draw.pick(demo._PHENOMENA)(draw, demo.make_sentence(draw))
        assert demo.is_acceptable(right) and not demo.is_acceptable(wrong)
        assert demo.say_sentence(Draw(1), right) != demo.say_sentence(Draw(1), wrong)


def test_no_swapped_relative_reads_as_a_sentence_again() -> None:
    swapped = Sentence("horse", False, "thank", links=(Link("robin", False, verb="thank"),), object="mary", order="link")
    assert demo.say_sentence(Draw(0), swapped).split(" ", 2)[2] == "the robin that thanked thanks mary"


def test_the_words_of_a_sentence_follow_its_form() -> None:
    attracted = Sentence("poodle", True, "blame", links=(Link("horse", False, verb="thank"),), object="mary")
    texts = {demo.say_sentence(Draw(seed), attracted) for seed in range(30)}
    assert texts == {
        f"the poodles that the {horse} thanked {verb} mary" for horse in ("horse", "steed") for verb in ("blames", "accuses")
    }


def test_synonyms_voice_and_converses_realise_one_meaning() -> None:
    def texts(form: demo.Form) -> set[str]:
        return {demo.say(Draw(seed), form) for seed in range(300)}

    assert texts(Comparison("anna", "tall", "john")) == {"anna is taller than john", "john is shorter than anna"}
    assert texts(Comparison("anna", "tall", "john", "<=")) == {"anna is not taller than john", "john is not shorter than anna"}
    event = texts(Event("doctor", "chase", "mary", negated=True))
    assert {
        "the physician did not chase mary",
        "mary was not pursued by the doctor",
        "it was mary that the doctor did not chase",
    } <= event
    assert not event & texts(Event("mary", "chase", "doctor", negated=True))
    sale = texts(Transfer("anna", "apple", "john", for_good=True))
    assert {"anna sold the apple to john", "john bought the apple from anna"} <= sale
    assert "anna bought the apple from john" not in sale


def test_swapped_roles_are_no_paraphrase_and_every_alteration_changes_the_meaning() -> None:
    assert not demo.is_paraphrase(Event("dog", "chase", "cat"), Event("cat", "chase", "dog"))
    assert demo.is_paraphrase(Comparison("anna", "tall", "john"), Comparison("anna", "tall", "john"))
    draw = Draw(0)
    for _ in range(500):
        form = demo.make_form(draw)
        assert not demo.is_paraphrase(form, demo.alter(draw, form))


def some(quantifier: str, noun: str, deed: str, trait: str = "", place: str = "") -> Statement:
    return Statement(quantifier, noun, trait, deed, place)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (some("all", "dog", "run"), some("some", "dog", "run"), 0),
        (some("some", "dog", "run"), some("all", "dog", "run"), 1),
        (some("all", "dog", "run"), some("all", "poodle", "run"), 0),
        (some("all", "dog", "run"), some("all", "animal", "run"), 1),
        (some("some", "poodle", "sprint"), some("some", "animal", "move"), 0),
        (some("no", "animal", "move"), some("no", "poodle", "sprint"), 0),
        (some("all", "dog", "run"), some("no", "dog", "sleep"), 0),
        (some("all", "dog", "run"), some("some", "dog", "sleep"), 2),
        (some("most", "dog", "run"), some("few", "dog", "move"), 2),
        (some("most", "dog", "run"), some("most", "dog", "run", trait="black"), 1),
        (some("some", "dog", "run", trait="black", place="park"), some("some", "dog", "run"), 0),
        (some("not all", "dog", "run"), some("no", "dog", "run"), 1),
        (some("not all", "dog", "run"), some("all", "animal", "sprint"), 2),
        (some("one", "mary", "sprint"), some("one", "mary", "sleep"), 2),
        (some("not one", "mary", "run"), some("not one", "mary", "sprint", place="park"), 0),
        (some("not one", "mary", "sprint"), some("one", "mary", "run"), 1),
    ],
)
def test_inference_by_hand(premise: Statement, hypothesis: Statement, label: int) -> None:
    assert demo.inference(premise, hypothesis) == label


TRUE: dict[str, Callable[[int, int], bool]] = {
    "all": lambda inside, total: inside == total,
    "most": lambda inside, total: 2 * inside > total,
    "some": lambda inside, total: inside > 0,
    "no": lambda inside, total: inside == 0,
    "few": lambda inside, total: 2 * inside < total,
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
@pytest.mark.parametrize(("deed", "other"), [("0", "run"), ("1", "move"), ("-1", "sprint"), ("apart", "walk")])
def test_inference_agrees_with_every_small_model(noun: int, deed: str, other: str) -> None:
    models = truths(noun, deed)
    for (i, p), (j, h) in product(enumerate(TRUE), repeat=2):
        outcomes = {second[j] for first, second in models if first[i]}
        expected = 1 if len(outcomes) == 2 else 0 if True in outcomes else 2
        kind = {0: "dog", 1: "animal", -1: "poodle"}[noun]
        assert demo.inference(some(p, "dog", "run"), some(h, kind, other)) == expected, (p, h)


@pytest.mark.parametrize(
    ("premises", "hypothesis", "label"),
    [
        ([Comparison("a", "tall", "b")], Comparison("a", "tall", "b", "<="), 2),
        ([Comparison("a", "tall", "b")], Comparison("b", "tall", "a"), 2),
        ([Comparison("a", "tall", "b")], Comparison("b", "tall", "a", "<="), 0),
        ([Comparison("a", "tall", "b", "<=")], Comparison("b", "tall", "a"), 1),
        ([Comparison("a", "tall", "b")], Comparison("a", "old", "b"), 1),
        ([Comparison("a", "tall", "b"), Comparison("b", "tall", "c")], Comparison("a", "tall", "c"), 0),
        ([Comparison("a", "tall", "b"), Comparison("b", "tall", "c")], Comparison("c", "tall", "a"), 2),
    ],
)
def test_comparison_by_hand(premises: list[Comparison], hypothesis: Comparison, label: int) -> None:
    assert demo.compare(premises, hypothesis) == label


@pytest.mark.parametrize(
    ("second", "score"),
    [
        (Event("dog", "chase", "cat", "park"), 5.0),
        (Event("dog", "chase", "cat", "street"), 4.2),
        (Event("dog", "chase", "boy", "park"), 3.6),
        (Event("cat", "chase", "dog", "park"), 2.8),  # verb 1.4, place 0.8, two in the other role 0.6
        (Event("dog", "chase", "cat", "park", negated=True), 2.5),
        (Event("boy", "praise", "girl", "street"), 0.0),
    ],
)
def test_similarity_by_hand(second: Event, score: float) -> None:
    assert demo.similarity(Event("dog", "chase", "cat", "park"), second) == pytest.approx(score)


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
    [("sentiment", 0.8), ("acceptability", 0.4), ("paraphrase", 0.75), ("entailment", 0.6), ("similarity", 0.75)],
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
