"""mkd.search in a notebook: from data in memory to a front of students."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import mkd
from experiments import cli
from experiments.notebook_search import Searched, search_settings, student_frame
from experiments.settings import SearchSettings
from experiments.studies.space import parse_space
from tests.support.database import use_store
from tests.support.entry import client
from tests.support.notebooks import FEW, frame

TINY = {name: value for name, value in FEW.items() if not name.startswith("export.")} | {
    "student.init": "", "student.min_count": 0, "loss.kind": "mse", "loss.temperature": 1.0,
    "train.lazy": False, "search.workers": 1, "search.start": [],
    "search.space": {"student.kind": ["bag"], "student.hidden": [4, 8, 16]},
}  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searched, Path]:
    """A search of two trials on a frame, and its folder."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        use_store(folder, patch)
        patch.chdir(folder)
        found = mkd.search({"reviews": frame(80)}, "", trials=2, settings=TINY)
    return found, folder


def test_a_search_returns_its_students_and_a_picture(searched: tuple[Searched, Path]) -> None:
    found, _ = searched
    assert list(found.students) == ["student", "selection", "dev", "ms a text", "front"]
    assert len(found.students) == 2 and found.students["front"].any()
    assert found.students["ms a text"].is_monotonic_increasing
    assert isinstance(found.plot(), Figure)
    page = found._repr_html_()
    assert page.count("<table") == 1 and "data:image/png;base64," in page
    assert found.students["student"].iloc[0] in repr(found)


def test_a_search_is_recorded_in_mlflow(searched: tuple[Searched, Path]) -> None:
    found, folder = searched
    run = client(folder).get_run(found.run_id)
    assert run.data.tags["mkd.study"] == found.study == found.settings.search.study
    assert run.data.metrics["trials/complete"] == 2


def test_a_study_is_named_after_data_teacher_and_settings_but_not_its_trials(
    tmp_path: Path,
) -> None:
    cache = {"cache": str(tmp_path)}

    def name(rows: int, trials: int, **more: object) -> str:
        settings = search_settings({"reviews": frame(rows)}, "", trials, TINY | cache | more)
        return settings.search.study

    assert name(80, 2) == name(80, 9)
    assert len({name(80, 2), name(90, 2), name(80, 2, seed=1)}) == 3
    assert name(80, 2, **{"search.study": "mine"}) == "mine"


def test_the_settings_are_those_of_the_shipped_search(tmp_path: Path) -> None:
    settings = search_settings({"reviews": frame(80)}, "encoder", 8, {"cache": str(tmp_path)})
    argv = ["--config", "quick", "--teacher.checkpoint=encoder"]
    shipped = cli.parse(argv, "", SearchSettings)
    assert settings.search.space == shipped.search.space
    assert settings.search.start == shipped.search.start
    assert (settings.teacher, settings.train) == (shipped.teacher, shipped.train)
    parse_space(settings.search.space, ["reviews"])


def test_students_are_those_that_were_trained_to_their_end() -> None:
    trials = [
        {"number": 0, "name": "t000 bag-8 0.2ms", "state": "complete", "quality": 70.0,
         "dev": 71.0, "latency_ms": 0.2},
        {"number": 1, "name": "t001 bag-16 0.3ms", "state": "pruned", "quality": None,
         "dev": None, "latency_ms": 0.3},
        {"number": 2, "name": "t002 bag-4 0.1ms", "state": "complete", "quality": 71.0,
         "dev": 70.0, "latency_ms": 0.1},
        {"number": 3, "name": "t003", "state": "failed", "quality": None,
         "dev": None, "latency_ms": None},
    ]  # fmt: skip
    students = student_frame({"trials": trials, "front": [{"number": 2}]})
    expected = [("t002 bag-4", 71.0, 70.0, 0.1, True), ("t000 bag-8", 70.0, 71.0, 0.2, False)]
    assert students.equals(pd.DataFrame(expected, columns=list(students)))
