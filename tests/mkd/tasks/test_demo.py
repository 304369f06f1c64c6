"""The demo suite: its semantics by hand-worked cases, its rows by their invariants."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest

from mkd.config import DataConfig, DemoConfig
from mkd.selection.split import LEVELS, SHARED_WORDS, selection_split
from mkd.tasks import demo
from mkd.tasks.demo import acceptability, entailment, paraphrase, sentiment
from mkd.tasks.demo.acceptability import Phrase, Sentence
from mkd.tasks.demo.entailment import Statement
from mkd.tasks.demo.forms import FRAMES, Claim, Comparison, Contrast, Event, valence
from mkd.tasks.demo.rng import Rng
from mkd.tasks.demo.similarity import similarity
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Row
from tests.support.linear import effective, linear_score, texts_of

CONFIG = DemoConfig(train_rows=300, unlabelled_rows=100, dev_rows=100, label_noise=0.0)
ALL_TASKS = pytest.mark.parametrize("task", demo.DEMO_TASKS)


def read(task: str, split: demo.SplitName, config: DemoConfig = CONFIG) -> list[Row]:
    return list(demo.demo_rows(task, split, config))


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
    expected = [row[:2] for row in read(task, "train", noisy)]
    assert [row[:2] for row in read(task, "train", more)[:400]] == expected
    assert read(task, "dev", more)[:100] == read(task, "dev", noisy)


@ALL_TASKS
def test_rows_are_the_same_whether_kept_or_not(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, train_rows=20, unlabelled_rows=3, seed=7)
    kept = read(task, "train", config)
    assert read(task, "train", config) == kept
    assert read(task, "train", replace(config, train_rows=10))[:10] == kept[:10]
    monkeypatch.setattr(demo, "_KEPT_ROWS", 5)
    assert read(task, "train", config) == kept


@ALL_TASKS
def test_first_row_of_ten_million_comes_at_once(task: str) -> None:
    rows = demo.demo_rows(
        task, "train", DemoConfig(train_rows=10_000_000, unlabelled_rows=10_000_000)
    )
    assert isinstance(rows, Iterator)
    assert len(list(islice(rows, 3))) == 3


@ALL_TASKS
def test_noise_changes_the_stated_share_of_train_labels_and_no_text(task: str) -> None:
    large = replace(CONFIG, train_rows=2000, unlabelled_rows=0)
    clean, noisy = read(task, "train", large), read(task, "train", replace(large, label_noise=0.2))
    assert [row[:2] for row in clean] == [row[:2] for row in noisy]
    changed = np.mean([a.label != b.label for a, b in zip(clean, noisy, strict=True)])
    assert changed == pytest.approx(
        0.17 if task == "similarity" else 0.2, abs=0.03
    )  # a score of 5 that goes up stays 5
    assert read(task, "dev", large) == read(task, "dev", replace(large, label_noise=0.2))


def test_noise_moves_a_score_by_a_normal_of_sd_one_and_a_half() -> None:
    kind = demo.DEMO_TASKS["similarity"]
    assert demo._noisy(2.5, kind, 0.5) == 2.5
    assert demo._noisy(2.5, kind, 0.841345) == pytest.approx(
        4.0, abs=0.01
    )  # one standard deviation up
    assert (demo._noisy(0.5, kind, 0.0), demo._noisy(4.5, kind, 0.999)) == (0.0, 5.0)


def test_noise_picks_each_wrong_class_alike() -> None:
    kind = demo.DEMO_TASKS["entailment"]
    assert [demo._noisy(1.0, kind, uniform) for uniform in (0.0, 0.49, 0.5, 0.99)] == [
        0.0,
        0.0,
        2.0,
        2.0,
    ]


@ALL_TASKS
def test_no_text_is_in_both_splits(task: str) -> None:
    train = set(texts_of(read(task, "train", replace(CONFIG, train_rows=2000))))
    dev = set(texts_of(read(task, "dev", replace(CONFIG, dev_rows=500))))
    assert train and dev and not train & dev


@ALL_TASKS
def test_hardly_two_rows_of_dev_are_alike(task: str) -> None:
    assert effective(row[:2] for row in read(task, "dev", DemoConfig())) > 900


@ALL_TASKS
def test_no_selected_text_is_learnt_from_and_groups_stay_small(task: str, tmp_path: Path) -> None:
    data = DataConfig(tasks=[task])
    carving = selection_split(tmp_path, load_tasks(data)[0], data, 0)
    assert carving.statistics.together == LEVELS[0]
    assert carving.statistics.largest <= 20
    assert len(carving.selection_rows) == 0.1 * data.demo.train_rows
    rows = read(task, "train", data.demo)
    selected, learnt = (
        set(texts_of(rows[i] for i in chosen))
        for chosen in (carving.selection_rows, carving.train_rows)
    )
    assert selected and learnt and not selected & learnt


@ALL_TASKS
def test_texts_of_pairs_have_eight_words_or_more(task: str) -> None:
    if demo.DEMO_TASKS[task].pair:
        assert min(len(text.split()) for text in texts_of(read(task, "train"))) == SHARED_WORDS


@ALL_TASKS
def test_rows_fit_their_kind(task: str) -> None:
    kind = demo.DEMO_TASKS[task]
    for row in read(task, "train", replace(CONFIG, label_noise=0.5))[:300]:
        assert (row.text_b is not None) == kind.pair
        assert row.label is not None
        if kind.range:
            assert kind.range[0] <= row.label <= kind.range[1]
        else:
            assert row.label in range(len(kind.labels))


@pytest.mark.parametrize("task", [task for task, kind in demo.DEMO_TASKS.items() if kind.labels])
def test_classes_are_equally_common(task: str) -> None:
    for split in ("train", "dev"):
        counts = Counter(row.label for row in read(task, split, replace(CONFIG, unlabelled_rows=0)))
        assert len(counts) == len(demo.DEMO_TASKS[task].labels)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_an_unknown_task_or_split_is_refused_with_the_known_ones() -> None:
    message = "'irony'; allowed: sentiment, acceptability, paraphrase, entailment, similarity"
    with pytest.raises(ValueError, match=message):
        demo.demo_rows("irony", "train", CONFIG)
    with pytest.raises(ValueError, match="irony"):
        demo.demo_fingerprint("irony", "train", CONFIG)
    with pytest.raises(ValueError, match="'test'; allowed: train, dev"):
        demo.demo_fingerprint("sentiment", "test", CONFIG)


def test_rows_change_with_the_version_only() -> None:
    """A new DEMO_VERSION gets its digest here; the digest of a released version never changes."""
    digests = {1: "c1631708ee4401e9c7a1"}
    config = DemoConfig(train_rows=200, unlabelled_rows=50, dev_rows=50, label_noise=0.2)
    rows = [
        [(row.text_a, row.text_b, row.label) for row in read(task, split, config)]
        for task in demo.DEMO_TASKS
        for split in ("train", "dev")
    ]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:20] == digests[demo.DEMO_VERSION]


def test_fingerprint_changes_with_version_task_split_and_settings_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prints = [
        demo.demo_fingerprint("sentiment", "train", CONFIG),
        demo.demo_fingerprint("sentiment", "dev", CONFIG),
        demo.demo_fingerprint("similarity", "train", CONFIG),
        demo.demo_fingerprint("sentiment", "train", replace(CONFIG, seed=1)),
    ]
    assert len(set(prints)) == 4
    assert prints[0] == demo.demo_fingerprint("sentiment", "train", replace(CONFIG))
    monkeypatch.setattr(demo, "DEMO_VERSION", demo.DEMO_VERSION + 1)
    assert demo.demo_fingerprint("sentiment", "train", CONFIG) not in prints


# What the labels mean


@pytest.mark.parametrize(
    ("opinion", "positive"),
    [
        (Claim("film", "good"), True),
        (Claim("film", "bad", denied=True), True),  # not bad
        (Claim("film", "good", denied=True), False),
        (Contrast(Claim("song", "bad"), Claim("film", "good"), "but"), True),
        (Contrast(Claim("film", "good"), Claim("song", "good", denied=True), "although"), False),
    ],
)
def test_a_denial_turns_an_opinion_round(opinion: Claim | Contrast, positive: bool) -> None:
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
    ],
)
def test_valence_by_hand(claim: Claim, value: int) -> None:
    assert valence(claim) == value


def test_the_winning_claim_stands_where_its_frame_puts_it() -> None:
    bad, good = Claim("song", "bad", "lima"), Claim("film", "good", "rome")
    said = {frame: sentiment.say(Rng(0), Contrast(bad, good, frame)) for frame in FRAMES}
    assert said == {
        "but": "the song was bad in lima but the film was good in rome",
        "although": "although the song was bad in lima the film was good in rome",
        "even though": "the film was good in rome although the song was bad in lima",
    }


THE_BOY = Phrase("teacher", False)
DOGS = Sentence(Phrase("dog", True), "chase", THE_BOY, plural_verb=True)


@pytest.mark.parametrize(
    ("sentence", "acceptable"),
    [
        (DOGS, True),  # the dogs chase the teacher
        (DOGS._replace(plural_verb=False), False),
        (DOGS._replace(link=Phrase("cat", False)), True),  # the dogs near the cat chase
        (
            DOGS._replace(link=Phrase("cat", False), plural_verb=False),
            False,
        ),  # the dogs near the cat chases
        (DOGS._replace(subject=Phrase("dog", True, "these")), True),
        (DOGS._replace(subject=Phrase("dog", True, "this")), False),
        (DOGS._replace(object=Phrase("cat", False, "many")), False),
        (DOGS._replace(auxiliary="have", form="past"), True),
        (DOGS._replace(auxiliary="have", form="base"), False),
        (DOGS._replace(verb_last=True), False),
        (DOGS._replace(object=Phrase("cat", False, reversed=True)), False),
    ],
)
def test_a_broken_rule_makes_it_unacceptable(sentence: Sentence, acceptable: bool) -> None:
    assert acceptability.is_acceptable(sentence) == acceptable


def test_each_phenomenon_gives_an_acceptable_and_a_broken_sentence() -> None:
    rng = Rng(0)
    for _ in range(300):
        right, wrong = rng.pick(acceptability._PHENOMENA)(rng, acceptability.make_sentence(rng))
        assert acceptability.is_acceptable(right) and not acceptability.is_acceptable(wrong)
        assert acceptability.say(Rng(1), right) != acceptability.say(Rng(1), wrong)


def test_the_words_of_a_sentence_follow_its_form() -> None:
    attracted = DOGS._replace(link=Phrase("cat", False), plural_verb=False)
    texts = {acceptability.say(Rng(seed), attracted) for seed in range(50)}
    assert texts == {
        "the dogs near the cat chases the teacher",
        "the dogs behind the cat chases the teacher",
    }


def test_voice_and_converses_realise_one_meaning() -> None:
    def texts(form: paraphrase.Form) -> set[str]:
        return {paraphrase.say(Rng(seed), form) for seed in range(100)}

    assert texts(Comparison("anna", "faster", "david")) == {
        "anna ran faster than david in oslo today",
        "david ran slower than anna in oslo today",
    }
    event = Event("anna", "chase", "clara")
    assert texts(event) == {
        "it was anna that chased clara in oslo",
        "it was clara that anna chased in oslo",
        "clara was indeed chased by anna in oslo",
    }
    assert not texts(event) & texts(Event("clara", "chase", "anna"))


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (Claim("film", "brilliant"), True),
        (Claim("film", "bad", denied=True), True),
        (Claim("film", "bad"), False),
        (Claim("film", "good", denied=True), False),
        (Claim("song", "good"), False),
        (Claim("film", "good", "rome"), False),
        (Claim("film", "good", when="lately"), False),
        (Event("anna", "chase", "clara"), False),
    ],
)
def test_opinions_of_one_sign_are_paraphrases(second: paraphrase.Form, same: bool) -> None:
    assert paraphrase.is_paraphrase(Claim("film", "good"), second) == same


def test_a_restatement_keeps_the_meaning() -> None:
    rng = Rng(0)
    for _ in range(500):
        form = paraphrase.make_form(rng)
        assert paraphrase.is_paraphrase(form, paraphrase.restate(rng, form))


def test_swapped_roles_are_no_paraphrase_and_every_alteration_changes_the_meaning() -> None:
    assert not paraphrase.is_paraphrase(
        Event("anna", "chase", "clara"), Event("clara", "chase", "anna")
    )
    assert paraphrase.is_paraphrase(
        Comparison("anna", "faster", "clara"), Comparison("anna", "faster", "clara")
    )
    rng = Rng(0)
    for _ in range(500):
        form = paraphrase.make_form(rng)
        assert not paraphrase.is_paraphrase(form, paraphrase.alter(rng, form))


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
        (Statement("all", "dog", "walk"), Statement("some", "dog", "walk", "old"), 1),
        (Statement("all", "dog", "walk"), Statement("no", "dog", "walk", city="rome"), 1),
        (Statement("not all", "dog", "walk"), Statement("no", "dog", "walk"), 1),
        (Statement("not all", "dog", "move"), Statement("all", "animal", "walk"), 2),
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

    noun: 1 where A2 includes A, -1 the other way, 0 the same; deed likewise, or `apart` where
    nobody is in B and B2.
    """
    pairs = {
        "0": ((1, 1), (0, 0)),
        "1": ((1, 1), (0, 1), (0, 0)),
        "-1": ((1, 1), (1, 0), (0, 0)),
        "apart": ((1, 0), (0, 1), (0, 0)),
    }
    kinds = {0: ((1, 1),), 1: ((1, 1), (0, 1)), -1: ((1, 1), (1, 0))}[noun]
    atoms = list(product(kinds, pairs[deed]))
    truth_values = set()
    for counts in product(range(4), repeat=len(atoms)):
        result = []
        for side in (0, 1):
            total = sum(n for n, (a, _) in zip(counts, atoms, strict=True) if a[side])
            inside = sum(n for n, (a, b) in zip(counts, atoms, strict=True) if a[side] and b[side])
            result.append(tuple(holds(inside, total) for holds in TRUE.values()) if total else None)
        if result[0] and result[1]:
            truth_values.add((result[0], result[1]))
    return truth_values


@pytest.mark.parametrize("noun", [0, 1, -1])
@pytest.mark.parametrize(
    ("deed", "pair"),
    [("0", "walk walk"), ("1", "walk move"), ("-1", "move walk"), ("apart", "walk crawl")],
)
def test_inference_agrees_with_every_small_model(noun: int, deed: str, pair: str) -> None:
    models = truths(noun, deed)
    (first, second), (of, to) = (
        {0: ("dog", "dog"), 1: ("dog", "animal"), -1: ("animal", "dog")}[noun],
        pair.split(),
    )
    for (i, p), (j, h) in product(enumerate(TRUE), repeat=2):
        outcomes = {after[j] for before, after in models if before[i]}
        expected = 1 if len(outcomes) == 2 else 0 if True in outcomes else 2
        assert (
            entailment.inference(Statement(p, first, of), Statement(h, second, to)) == expected
        ), (p, h)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (Comparison("a", "faster", "b"), Comparison("a", "faster", "b"), 0),
        (Comparison("a", "faster", "b"), Comparison("b", "faster", "a"), 2),
        (Comparison("a", "faster", "b"), Comparison("a", "longer", "b"), 1),
        (Comparison("a", "faster", "b"), Comparison("a", "faster", "c"), 1),
        (Comparison("a", "faster", "b"), Comparison("b", "faster", "a", city="rome"), 1),
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


def test_of_a_contrast_the_claim_about_the_same_thing_is_compared() -> None:
    contrast = Contrast(Claim("film", "good"), Claim("song", "awful"), "but")
    assert similarity(contrast, Claim("film", "nice")) == 5.0
    assert similarity(contrast, Claim("song", "nice")) == 1.25
    assert (
        similarity(contrast, Claim("hotel", "awful")) == 2.5
    )  # of neither: that of the winning claim, halved


# Difficulty


@pytest.mark.parametrize(
    ("task", "bound"),
    [
        ("sentiment", 80),
        ("acceptability", 70),
        ("paraphrase", 70),
        ("entailment", 57),
        ("similarity", 37),
    ],
)
def test_a_linear_model_on_runs_of_words_stays_below_its_bound(task: str, bound: float) -> None:
    config = replace(CONFIG, train_rows=3000, unlabelled_rows=0, dev_rows=600)
    assert (
        linear_score(
            read(task, "train", config), read(task, "dev", config), demo.DEMO_TASKS[task], [10]
        )
        < bound
    )
