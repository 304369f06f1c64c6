"""The best student for each budget in words, and the report's tables."""

import math

from analysis.findings.budgets import (
    BudgetAnswer,
    best_under,
    budgets_ms,
    loss_sentence,
    sentence,
    under,
)
from analysis.presentation.table import markdown
from analysis.statistics.differences import Difference
from analysis.tables import budget_lines, for_csv, front_lines, left_out_lines, loss
from tests.support.models import FAST, GOOD, WORSE, models

ANSWER = BudgetAnswer(
    5.0, "id", "bilstm-64", 1.0, 69.0, 30, 70.0, "T", 10.0, Difference(10.0, 8.0, 12.0, 3)
)


def test_the_best_under_a_budget_is_the_best_that_keeps_to_it() -> None:
    shown = models(FAST, GOOD, WORSE)
    keys = dict(zip(shown["label"], shown["id"], strict=True))
    answers = best_under(shown, {keys["bilstm-64"]: Difference(10.0, 8.0, 12.0)}, (0.05, 0.5, 5.0))
    assert [(a.budget_ms, a.label, a.latency_ms, a.mean) for a in answers] == [
        (0.5, "bag-1x64", 0.1, 60.0),
        (5.0, "bilstm-64", 1.0, 70.0),
    ]
    assert answers[1].lost == Difference(10.0, 8.0, 12.0)
    assert (
        answers[0].lost is not None
        and answers[0].lost.points == 20.0
        and math.isnan(answers[0].lost.low)
    ), "no interval is known"


def test_the_best_is_chosen_by_selection_and_reported_with_its_score_on_dev() -> None:
    lucky, chosen = GOOD | {"mean": 75.0, "selection": 60.0}, WORSE | {"selection": 61.0}
    (answer,) = best_under(models(FAST | {"selection": 50.0}, lucky, chosen), {}, (5.0,))
    assert (answer.label, answer.selection, answer.mean, answer.among) == (
        "transformer-1x32",
        61.0,
        65.0,
        3,
    )


def test_a_model_without_a_score_on_selection_is_not_chosen() -> None:
    old = GOOD | {"selection": None}
    (answer,) = best_under(models(FAST, old), {}, (5.0,))
    assert (answer.label, answer.among) == ("bag-1x64", 1)
    assert best_under(models(old), {}) == []


def test_the_faster_of_equally_good_models_is_best() -> None:
    (answer,) = best_under(models(GOOD, WORSE | {"mean": 70.0}), {}, (5.0,))
    assert answer.label == "bilstm-64"


def test_without_a_teacher_nothing_is_lost() -> None:
    (answer,) = best_under(models(GOOD | {"teacher_mean": math.nan}), {}, (5.0,))
    assert answer.lost is None and loss_sentence(answer) == "No score of a teacher is known"


def test_the_answer_says_which_model_and_what_it_loses() -> None:
    assert sentence(ANSWER) == "Best on selection under 5 ms: bilstm-64, 70.0 points on dev in 1 ms"
    message = "10.0 points below its teacher (95 % interval 8.0 to 12.0 over rows and 3 seeds)"
    assert loss_sentence(ANSWER) == f"{message}, which takes 10 ms"


def test_with_one_seed_the_statement_is_about_these_two_models() -> None:
    one = ANSWER._replace(lost=Difference(10.0, 8.0, 12.0, 1))
    message = "10.0 points below its teacher (95 % interval 8.0 to 12.0 over rows)"
    assert loss_sentence(one).startswith(message) and "not of the method" in loss_sentence(one)
    no_points = loss_sentence(one._replace(lost=Difference(0.04, -1.0, 1.0, 1)))
    assert "(+0.0 points, 95 % interval -1.0 to +1.0" in no_points
    none = loss_sentence(one._replace(lost=Difference(0.4, -0.6, 1.5, 1)))
    assert none.startswith("No difference")
    assert none.endswith("; one seed: of these two models, not of the method")


def test_an_interval_that_contains_0_is_reported_as_no_difference() -> None:
    answer = ANSWER._replace(lost=Difference(0.4, -0.6, 1.5, 2))
    message = "No difference to its teacher that holds (-0.4 points, 95 % interval -1.5 to +0.6 "
    assert loss_sentence(answer).startswith(message)
    assert loss(answer.lost) == "0.4 (-0.6 to 1.5) no clear difference"
    assert loss(Difference(-0.04, -0.6, 0.5, 2)) == "0.0 (-0.6 to 0.5) no clear difference"


def test_a_student_ahead_of_its_teacher_is_above_it() -> None:
    shown = loss_sentence(
        ANSWER._replace(lost=Difference(-2.0, -3.0, -1.0, 2), teacher_latency_ms=math.nan)
    )
    assert shown == "2.0 points above its teacher (95 % interval 1.0 to 3.0 over rows and 2 seeds)"


def test_if_all_models_take_less_than_1_ms_so_do_the_budgets() -> None:
    assert budgets_ms(1.0) == budgets_ms(30.0) == budgets_ms(math.nan) == (1.0, 2.0, 5.0, 10.0)
    assert budgets_ms(0.68) == (0.1, 0.2, 0.5, 1.0)
    assert budgets_ms(0.1) == budgets_ms(0.03) == (0.01, 0.02, 0.05, 0.1)
    fast = models(FAST, GOOD | {"latency_ms": 0.6})
    answers = best_under(fast, {})
    assert [(one.budget_ms, one.label) for one in answers] == [
        (0.1, "bag-1x64"),
        (0.2, "bag-1x64"),
        (0.5, "bag-1x64"),
        (1.0, "bilstm-64"),
    ]
    assert under(answers) == answers[2]


def test_the_main_answer_is_that_of_5_ms_or_else_of_the_next_larger_budget() -> None:
    one, ten = ANSWER._replace(budget_ms=1.0), ANSWER._replace(budget_ms=10.0)
    assert under([one, ANSWER, ten]) == ANSWER
    assert under([one, ten]) == ten and under([one]) == one and under([]) is None


def test_the_front_has_a_row_for_each_model_with_its_loss() -> None:
    shown = models(GOOD, GOOD | {"seed": 1, "mean": 71.0})
    header, _, row = front_lines(
        shown, ["a", "b", "unknown"], {shown["id"][0]: Difference(9.5, 8.0, 11.0)}
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == [
        "on the front",
        "ms",
        "rows/s",
    ]
    assert cells[:5] == ["bilstm-64", "1", "1,000", "0.40", "onnx"]
    # t(0.975, 1) = 12.706 times 0.7071, divided by the root of 2.
    assert cells[5:7] == ["69.5", "70.5 ± 6.4"]
    assert cells[7:] == ["2", "9.5 (8.0 to 11.0)", "60.0", "80.0"]


def test_a_budget_has_a_row() -> None:
    row = budget_lines([ANSWER])[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["5 ms", "bilstm-64", "1", "69.0", "70.0", "3", "10.0 (8.0 to 12.0)"]


def test_left_out_runs_are_counted_the_most_frequent_reason_first() -> None:
    assert left_out_lines({"no speed": ["a"], "trial pruned": ["b", "c"]}) == [
        "left out: 2 runs, trial pruned",
        "left out: 1 run, no speed",
    ]


def test_columns_are_aligned() -> None:
    assert markdown([["a", "bc"], ["def", "g"]]) == ["| a   | bc |", "| :-- | -: |", "| def |  g |"]


def test_the_csv_has_plain_cells_the_front_and_the_losses() -> None:
    shown = models(GOOD, GOOD | {"seed": 1}, WORSE)
    key = shown.loc[shown["label"] == "bilstm-64", "id"].iloc[0]
    table = for_csv(shown, {key: Difference(10.0, 8.0, 12.0)}, {key}).set_index("label")
    assert table.loc["bilstm-64", "runs"] == "r0 r1" and table.loc["bilstm-64", "seeds"] == "0 1"
    assert table.loc["bilstm-64", "front"] and not table.loc["transformer-1x32", "front"]
    assert table.loc["bilstm-64", "lost_low"] == 8.0
    assert math.isnan(table.loc["transformer-1x32", "lost_low"])
    assert table.loc["bilstm-64", "student.hidden"] == "64"
