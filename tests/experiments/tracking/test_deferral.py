"""A run's deferral table and chart, from hand-made columns."""

import numpy as np

from experiments.tracking import deferral
from mkd.evaluation.deferral import NEVER, Point, deferral_columns, deferral_metrics
from tests.support.text_boxes import faults

CURVES = {
    "mood": [Point(0, NEVER, 0, 0, 0), Point(50, 0.8, 0, 45, 0.4), Point(100, 0, 0.9, 100, 1.2)],
    "topic": [Point(0, NEVER, 0, 0, 0), Point(50, 0.9, 2, 50, 2), Point(100, 0, 7, 100, 7)],
}
COLUMNS = deferral_columns(CURVES)


def test_the_table_has_a_row_per_task_and_the_results_of_each_budget() -> None:
    lines = [" ".join(line.split()) for line in deferral.deferral_table(COLUMNS)]
    assert lines[0] == (
        "| task | lossless: confidence | answered % | lost | one point: confidence | answered % "
        "| lost |"
    )
    assert lines[2] == "| mood | 0.800 | 45.0 | 0.4 | 0.000 | 100.0 | 1.2 |"
    assert lines[3] == "| topic | none | 0.0 | 0.0 | none | 0.0 | 0.0 |"
    assert deferral.curves_of(COLUMNS) == CURVES


def test_the_chart_has_a_line_per_task_and_its_title_states_the_loss() -> None:
    shown = deferral.picture_data(COLUMNS, deferral_metrics(CURVES))
    assert [(line.label, line.chosen) for line in shown.lines] == [("mood", 1), ("topic", 0)]
    assert shown.title == (
        "The student answers 22 % of the texts, and the teacher the rest: 0.2 points lost on dev"
    )
    assert faults(deferral.draw(shown)) == []


def test_only_some_of_many_tasks_are_drawn() -> None:
    many = {f"task_{place}": CURVES["mood"] for place in range(30)}
    shown = deferral.picture_data(deferral_columns(many), deferral_metrics(many))
    assert len(shown.lines) == deferral.MOST and "8 of 30 tasks are drawn" in shown.small
    assert np.all(np.diff(sorted(shown.names_at)) > 0)
    assert faults(deferral.draw(shown)) == []
