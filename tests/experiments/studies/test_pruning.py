"""When a trial is pruned: hand-computed cases, and random ones against a second formula."""

import math

import numpy as np
import pytest

from experiments.settings import PruningConfig
from experiments.studies.pruning import Progress, is_behind, lead
from mkd.evaluation.pareto import front

RULE = PruningConfig(margin=5.0, warmup=0.25)
STEPS = 100


def trial(latency_ms: float, *scores: float) -> Progress:
    """A trial with these scores at steps 20, 40, 60 and so on."""
    return Progress(latency_ms, {20 * (i + 1): score for i, score in enumerate(scores)})


def behind(
    current: Progress, others: list[Progress], step: int, rule: PruningConfig = RULE
) -> bool:
    return is_behind(current, others, step, STEPS, rule)


def test_a_trial_is_pruned_if_one_as_fast_leads_by_more_than_the_margin() -> None:
    current, rival = trial(2.0, 50, 60), trial(2.0, 50, 65.5)
    assert lead(current, [rival], 40) == 5.5
    assert behind(current, [rival], 40)
    assert not behind(rival, [current], 40)


def test_a_lead_equal_to_the_margin_does_not_prune() -> None:
    current = trial(2.0, 50, 60)
    assert not behind(current, [trial(1.0, 50, 65)], 40)
    assert behind(current, [trial(1.0, 50, math.nextafter(65, 66))], 40)
    assert not behind(current, [trial(1.0, 50, 60)], 40, PruningConfig(margin=0.0, warmup=0.3))
    assert behind(
        current, [trial(1.0, 50, math.nextafter(60, 61))], 40, PruningConfig(margin=0.0, warmup=0.3)
    )


def test_no_trial_is_pruned_during_the_warm_up() -> None:
    current, rival = trial(2.0, 10, 10, 10, 10), trial(1.0, 90, 90, 90, 90)
    assert [behind(current, [rival], step) for step in (20, 40, 60)] == [False, True, True]
    for warmup, first in ((0.0, 20), (0.2, 20), (0.4, 40), (0.41, 60), (0.8, 80)):
        stopped = [
            step
            for step in (20, 40, 60, 80)
            if behind(current, [rival], step, PruningConfig(warmup=warmup))
        ]
        assert stopped[0] == first, "a share of the steps that is just met is enough"


def test_no_trial_is_pruned_at_its_last_step_or_if_the_warm_up_is_the_whole_training() -> None:
    current, rival = trial(2.0, 10, 10, 10, 10, 10), trial(1.0, 90, 90, 90, 90, 90)
    assert behind(current, [rival], 80) and not behind(current, [rival], 100)
    assert not any(
        behind(current, [rival], step, PruningConfig(warmup=1.0)) for step in (20, 40, 60, 80, 100)
    )


def test_slower_trials_are_ignored_however_good_they_are() -> None:
    current = trial(2.0, 10, 10)
    assert not behind(current, [trial(math.nextafter(2.0, 3.0), 99, 99)], 40)
    assert lead(current, [trial(2.1, 99, 99)], 40) == -math.inf
    assert behind(current, [trial(2.1, 99, 99), trial(1.9, 15.5, 15.5)], 40)


def test_there_is_no_lead_without_other_trials() -> None:
    assert lead(trial(2.0, 10), [], 20) == -math.inf
    assert not behind(trial(2.0, 10, 10), [], 40)


def test_only_scores_up_to_the_current_step_count() -> None:
    current = trial(2.0, 50, 60)
    # At this step, the other was no better.
    assert not behind(current, [trial(1.0, 50, 60, 99, 99)], 40)
    # It has no score so early.
    assert lead(current, [Progress(1.0, {60: 99.0})], 40) == -math.inf
    assert lead(current, [Progress(1.0, {30: 70.0, 50: 90.0})], 40) == 10, "scored at other steps"


def test_the_best_score_so_far_counts_instead_of_the_last() -> None:
    falling, rising = trial(2.0, 70, 50), trial(1.0, 50, 70)
    assert falling.best(20) == falling.best(40) == 70
    assert lead(falling, [rising], 40) == lead(rising, [falling._replace(latency_ms=1.0)], 40) == 0
    assert falling.best(19) == -math.inf


def test_a_pruned_rival_counts_with_its_best_score() -> None:
    current = trial(2.0, 10, 20, 30)
    assert lead(current, [trial(1.0, 38)], 60) == 8
    assert behind(current, [trial(1.0, 38)], 60) and not behind(current, [trial(1.0, 33)], 60)


def test_the_best_of_several_rivals_counts() -> None:
    current = trial(2.0, 50, 60)
    assert lead(current, [trial(1.0, 40, 50), trial(1.5, 66, 64), trial(3.0, 99, 99)], 40) == 6


@pytest.mark.parametrize("seed", range(5))
def test_pruning_matches_its_definition_and_never_affects_the_front(seed: int) -> None:
    """Few distinct values, so that there are ties. The front comes from mkd/evaluation/pareto.py,
    which is another algorithm."""
    rng = np.random.default_rng(seed)
    for _ in range(60):
        num, margin = 8, float(rng.integers(0, 4))
        scores_NS = rng.integers(0, 12, (num, 4)).astype(float)
        latency_N = rng.integers(1, 5, num).astype(float)
        num_scores_N = rng.integers(1, 5, num)  # the number of scores that each trial has so far
        trials = [
            trial(latency, *row[:n])
            for latency, row, n in zip(latency_N, scores_NS, num_scores_N, strict=True)
        ]
        for place in np.flatnonzero(num_scores_N == 4):
            others = [other for i, other in enumerate(trials) if i != place]
            for index in range(3):
                step = 20 * (index + 1)
                best_N = np.array(
                    [
                        row[: min(n, index + 1)].max()
                        for row, n in zip(scores_NS, num_scores_N, strict=True)
                    ]
                )
                on_front = front(best_N, latency_N)
                gaps = [
                    best_N[i] - best_N[place]
                    for i in range(num)
                    if i != place and latency_N[i] <= latency_N[place]
                ]
                rule = PruningConfig(margin=margin, warmup=0.2)
                pruned = is_behind(trials[place], others, step, STEPS, rule)
                assert pruned == any(gap > margin for gap in gaps)
                assert not (pruned and on_front[place])
                assert not on_front[place] or lead(trials[place], others, step) <= 0


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_a_pruned_trial_was_behind_a_final_score_by_more_than_the_margin(margin: float) -> None:
    """Sequential trials with different learning curves, some of which would have ended on the front
    if they had not been pruned."""
    rng, lost, rule = np.random.default_rng(0), 0, PruningConfig(margin=margin, warmup=0.2)
    for _ in range(60):
        scores_NS = rng.uniform(0, 8, (8, 5)).cumsum(axis=1)
        latency_N = rng.integers(1, 5, 8).astype(float)
        whole = [trial(latency, *row) for latency, row in zip(latency_N, scores_NS, strict=True)]
        seen: list[Progress] = []
        ended: list[int] = []
        for current in whole:
            until = [
                current._replace(scores={s: v for s, v in current.scores.items() if s <= step})
                for step in current.scores
            ]
            stop = next(
                (i for i, part in enumerate(until) if behind(part, seen, 20 * (i + 1), rule)), 4
            )
            seen.append(until[stop])
            ended.append(20 * (stop + 1))
        last = [each for each, step in zip(whole, ended, strict=True) if step == STEPS]
        on_front_N = front(scores_NS[:, -1], latency_N)
        for place, step in enumerate(ended):
            if step < STEPS:
                current = whole[place]
                best = max(
                    other.best(STEPS) for other in last if other.latency_ms <= current.latency_ms
                )
                assert best - current.best(step) > margin
                lost += int(on_front_N[place])
    assert lost > 0, "it is no promise that none of these is stopped"


def test_trials_on_the_final_front_are_never_pruned_if_all_have_the_same_learning_curve() -> None:
    rng = np.random.default_rng(0)
    latency_N = rng.uniform(1, 10, 30)
    quality_N = rng.uniform(50, 90, 30)
    rises_S = np.array([0.5, 0.7, 0.85, 0.95, 1.0])
    trials = [
        trial(latency, *(quality * rises_S))
        for latency, quality in zip(latency_N, quality_N, strict=True)
    ]
    stopped_N = np.array(
        [
            any(
                behind(current, [o for o in trials if o is not current], step)
                for step in (40, 60, 80)
            )
            for current in trials
        ]
    )
    on_front_N = front(quality_N, latency_N)
    assert stopped_N.any() and not (stopped_N & on_front_N).any()
