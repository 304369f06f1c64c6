"""Runs that can be compared, and models: groups of runs that differ only in their seed."""

from typing import Any

import pandas as pd
import pytest

from analysis.runs.models import averaged, comparable, differing, labels, most_frequent
from tests.support.models import frame


def test_runs_that_differ_in_their_seed_only_are_one_model_with_their_means() -> None:
    first = {"seed": 1, "mean": 72.0, "latency_ms": 1.2, "score/a": 64.0}
    runs = frame(first, {"seed": 0}, {"seed": 2, "mean": 71.0, "latency_ms": 9.0})
    (model,) = averaged(runs).to_dict("records")
    assert (model["runs"], model["seeds"]) == (["r1", "r0", "r2"], [0, 1, 2])
    assert model["means"] == [70.0, 72.0, 71.0]
    assert model["mean"] == 71.0
    assert model["latency_ms"] == 1.2, "the median"
    assert model["score/a"] == pytest.approx((64 + 60 + 60) / 3)
    # t(0.975, 2) = 4.302653, standard deviation 1, three seeds.
    expected = pytest.approx((71 - 4.302653 / 3**0.5, 71 + 4.302653 / 3**0.5))
    assert (model["low"], model["high"]) == expected


def test_a_model_is_as_busy_as_the_busiest_of_its_runs() -> None:
    runs = frame({"seed": 0, "busy_share": 0.01}, {"seed": 1, "busy_share": 0.4}, {"seed": 2})
    assert averaged(runs)["busy_share"].tolist() == [0.4]


def test_a_model_is_chosen_by_its_seeds_mean_on_selection_where_each_has_one() -> None:
    runs = frame({"selection": 60.0}, {"selection": 64.0, "seed": 1})
    (known,) = averaged(runs).to_dict("records")
    assert (known["selection"], known["selection/a"]) == (62.0, 59.0)
    runs = frame({"selection": 60.0}, {"selection": None, "seed": 1})
    (unknown,) = averaged(runs).to_dict("records")
    assert pd.isna(unknown["selection"]) and unknown["selection/a"] == 59.0


@pytest.mark.parametrize(
    "change",
    [{"loss.temperature": "2.0"}, {"machine": "N, 4 cores"}, {"backend": "int8"}, {"teacher": "U"},
     {"variant": "clipped"}, {"kind": "finetune", "parent": "other"}, {"whole": "True"},
     {"drawn_by": "row by row"}],
)  # fmt: skip
def test_runs_that_differ_in_anything_else_are_two_models(change: dict[str, Any]) -> None:
    assert len(averaged(frame({}, change))) == 2


def test_the_same_settings_in_a_study_and_outside_are_one_model() -> None:
    num_models = len(
        averaged(
            frame(
                {"kind": "trial", "study": "s", "parent": "p", "trial": 4.0},
                {"kind": "promote", "seed": 1},
            )
        )
    )
    assert num_models == 1


def test_a_single_seed_has_no_interval_and_models_come_best_first() -> None:
    table = averaged(frame({}, {"loss.temperature": "2.0", "mean": 75.0}))
    assert table["mean"].tolist() == [75.0, 70.0]
    assert table["low"].isna().all() and table["high"].isna().all()


def test_a_models_id_does_not_depend_on_the_other_runs() -> None:
    alone = averaged(frame({}))
    with_another = averaged(frame({}, {"loss.temperature": "2.0", "mean": 75.0}))
    assert alone["id"][0] == with_another["id"][1]


def test_the_most_frequent_tasks_split_and_setting_are_kept_and_the_others_reported() -> None:
    runs = frame(
        {},
        {"seed": 1},
        {"seed": 2},
        {"seed": 3},
        {"name": "other", "suite": "glue: a", "tasks": ("a",)},
        {"name": "trial", "split": "selection"},
        {"name": "short", "setting": "b1-l64-t1"},
        {"name": "before", "drawn_by": "row by row"},
    )
    selected = comparable(runs)
    assert len(selected.frame) == 4 and selected.tasks == ["a", "b"]
    assert selected.left_out == {
        "other tasks: glue: a": ["other"],
        "scored on the selection split": ["trial"],
        "timed in b1-l64-t1": ["short"],
        "selected by rows that were set apart otherwise: row by row": ["before"],
    }


def test_runs_of_an_earlier_speed_protocol_are_left_out_even_if_they_are_most() -> None:
    """Versions are compared as numbers: 10 is later than 9."""
    ninth = {"protocol": "9"}
    runs = frame(
        {"name": "a"} | ninth, {"name": "b", "seed": 1} | ninth, {"seed": 2, "protocol": "10"}
    )
    selected = comparable(runs)
    assert selected.left_out == {
        "its speed was measured in an earlier way (protocol 9)": ["a", "b"]
    }
    assert selected.frame["seed"].tolist() == [2]


def test_the_newest_run_of_a_seed_is_kept_and_the_others_reported() -> None:
    day = pd.Timestamp("2026-01-02")
    new = {"name": "new", "started": day, "mean": 72.0}
    runs = frame({"name": "old"}, new, {"seed": 1}, {"whole": "True"})
    selected = comparable(runs)
    assert selected.left_out == {"an earlier run of the same model and seed": ["old"]}
    assert len(selected.frame) == 3
    first, _ = averaged(selected.frame).to_dict("records")
    assert (first["seeds"], first["means"]) == ([0, 1], [72.0, 70.0])


def test_the_machine_of_most_runs_is_drawn_and_the_others_are_counted() -> None:
    runs = frame({}, {"seed": 1}, {"machine": "N, 4 cores"})
    selected = comparable(runs)
    assert (selected.machine, selected.others, len(selected.frame)) == (
        "M, 2 cores",
        {"N, 4 cores": 1},
        3,
    )
    assert comparable(runs, "N, 4 cores").machine == "N, 4 cores"
    with pytest.raises(ValueError, match="machine is 'L'; allowed: 'M, 2 cores', 'N, 4 cores'"):
        comparable(runs, "L")


def test_the_first_by_name_of_equally_frequent_values_is_used() -> None:
    assert most_frequent(pd.Series(["b", "a", "b", "a", "c"])) == "a"


def test_models_of_one_student_are_labelled_with_the_settings_that_differ() -> None:
    warm = {"loss.temperature": "2.0", "mean": 75.0}
    bag = {"student": "bag-1x64", "student.hidden": "32", "mean": 60.0}
    table = averaged(frame({}, warm, bag))
    labels = ["bilstm-64 temperature=2.0", "bilstm-64 temperature=1.0", "bag-1x64"]
    assert table["label"].tolist() == labels
    assert differing(table) == ["student.hidden", "loss.temperature"]


def test_a_trial_is_labelled_with_its_number_and_a_variant_with_its_name() -> None:
    other = {"loss.temperature": "2.0", "mean": 60.0}
    trials = averaged(frame({"trial": 3.0}, {"trial": 12.0} | other))
    assert trials["label"].tolist() == ["bilstm-64 #3", "bilstm-64 #12"]
    variants = averaged(frame({"variant": "plain"}, {"variant": "clipped"} | other))
    assert variants["label"].tolist() == ["bilstm-64 plain", "bilstm-64 clipped"]


def test_labels_are_unique_for_any_models() -> None:
    same = frame({"backend": "onnx"}, {"backend": "int8"}, {"teacher": "U"})
    shown = labels(same.assign(id=["aaaa1", "bbbb2", "cccc3"]))
    assert len(set(shown)) == 3
    assert shown[1] == "bilstm-64 int8"
