import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mkd.result import Report, no_report
from mkd.teachers import mean as module
from mkd.teachers.mean import mean_logits, mean_teacher
from mkd.teachers.task_teacher import TaskTeacher
from mkd.tokenization.tokens import TaskData
from tests.support.tiny import Datas


@dataclass(frozen=True)
class Fixed(TaskTeacher):
    """A teacher of given logits."""

    by_split: dict[str, np.ndarray]

    def logits(self, split: str, report: Report = no_report) -> np.ndarray | None:
        return self.by_split.get(split)


def fixed(name: str, data: TaskData, rows: int = 40, classes: int = 2, seed: int = 0) -> Fixed:
    rng = np.random.default_rng(seed)
    return Fixed(name, name, data, {"train": rng.normal(size=(rows, classes)).astype(np.float32)})


def test_the_mean_of_logits_matches_hand_computed_values() -> None:
    logits = np.array([[[1.0, 3.0]], [[5.0, -3.0]]])
    np.testing.assert_allclose(mean_logits(logits, "logits"), [[3.0, 0.0]])


def test_the_mean_of_probabilities_matches_hand_computed_values() -> None:
    """The mean of (3/4, 1/4) and (1/2, 1/2) is (5/8, 3/8), whatever constant is added to logits."""
    logits = np.array([[[math.log(3), 0.0]], [[7.0, 7.0]]])
    np.testing.assert_allclose(
        np.exp(mean_logits(logits, "probabilities")), [[5 / 8, 3 / 8]], rtol=1e-6
    )


@pytest.mark.parametrize("of", ["logits", "probabilities"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_the_mean_is_over_the_teachers_that_answer(of: str, multilabel: bool) -> None:
    """The first row has both answers, the second has one, the third has none."""
    logits = np.random.default_rng(0).normal(size=(2, 3, 2))
    logits[1, 1] = logits[:, 2] = np.nan
    means = mean_logits(logits, of, multilabel)
    np.testing.assert_array_equal(means[:1], mean_logits(logits[:, :1], of, multilabel))
    np.testing.assert_array_equal(means[1:2], mean_logits(logits[:1, 1:2], of, multilabel))
    assert np.isnan(means[2]).all()


def test_the_log_of_mean_probabilities_matches_a_second_formula() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 4), scale=3)
    chances = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    means = mean_logits(logits, "probabilities")
    np.testing.assert_allclose(means, np.log(chances.mean(0)), rtol=1e-5)
    assert means.dtype == np.float32


def test_probabilities_that_underflow_have_finite_logs() -> None:
    logits = np.array([[[0.0, 2000.0]], [[0.0, 2000.0]]])
    np.testing.assert_allclose(mean_logits(logits, "probabilities"), [[-2000.0, 0.0]])


def test_scores_of_a_regression_are_averaged_in_both_modes() -> None:
    scores = np.array([[[1.0], [2.0]], [[3.0], [-2.0]]])
    for of in ("logits", "probabilities"):
        np.testing.assert_allclose(mean_logits(scores, of), [[2.0], [0.0]])


def test_the_mean_is_stored_and_does_not_depend_on_chunks(
    tmp_path: Path, datas: Datas, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = (fixed("a", datas[0], seed=1), fixed("b", datas[0], seed=2))
    logits_by_chunk = []
    for chunk in (7, 1000):
        monkeypatch.setattr(module, "MEAN_CHUNK_ROWS", chunk)
        logits_by_chunk.append(
            mean_teacher(members, "logits", tmp_path / str(chunk), datas[0]).logits("train")
        )
    expected = (members[0].by_split["train"] + members[1].by_split["train"]) / 2
    for logits in logits_by_chunk:
        assert logits is not None
        np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert mean_teacher(members, "logits", tmp_path, datas[0]).name == "a + b"


def test_a_split_missing_in_one_member_has_no_mean(tmp_path: Path, datas: Datas) -> None:
    one, other = fixed("a", datas[0]), fixed("b", datas[0])
    one.by_split["dev"] = np.zeros((20, 2), dtype=np.float32)
    assert mean_teacher((one, other), "logits", tmp_path, datas[0]).logits("dev") is None


def test_the_key_depends_on_members_and_mean_but_not_on_order(tmp_path: Path, datas: Datas) -> None:
    a, b, c = fixed("a", datas[0]), fixed("b", datas[0]), fixed("c", datas[0])
    keys = [
        mean_teacher(pair, "logits", tmp_path, datas[0]).key for pair in ((a, b), (b, a), (a, c))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert mean_teacher((a, b), "probabilities", tmp_path, datas[0]).key not in keys
