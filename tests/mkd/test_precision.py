"""Half precision is chosen if a measurement, once per machine, finds it faster; stored settings are
never `auto`."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mkd import precision
from mkd.config import Config, DataConfig, Stores, TeacherConfig, TrainConfig
from mkd.evaluation.scoring import predict_logits, selection_scores, torch_infer
from mkd.evaluation.speed import hardware
from mkd.pipeline import set_up_device
from mkd.precision import bfloat16_speedup, measure_speedup, resolve_precision, stored_speedup
from mkd.runtime.layout import Layout
from mkd.students import Student
from mkd.teachers import refined
from mkd.teachers.refined import untrained_teacher
from mkd.tokenization.tokens import ModelData, labelled_rows, layout_of
from tests.support.tiny import Datas, Tokenizer, make_datas
from tests.support.tiny import make_tasks as tasks_of

AUTO = TrainConfig(precision="auto")
SETTINGS = [
    ("train", Config(train=AUTO)),
    ("teacher.train", Config(teacher=TeacherConfig(train=AUTO))),
]


def precisions(config: Config) -> list[str]:
    return [train.precision for train in (config.train, config.teacher.train)]


@pytest.mark.parametrize(
    ("ratio", "message"),
    [(3.4, "bfloat16"), (1.2, "bfloat16"), (1.19, "float32"), (0.07, "float32")],
)
def test_bfloat16_is_chosen_if_it_is_faster_by_a_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, message: str
) -> None:
    monkeypatch.setattr(precision, "measure_speedup", lambda device: ratio)
    for place, (_, config) in enumerate(SETTINGS):
        expected = ["float32"] * 2
        expected[place] = message
        lines: list[object] = []
        local_config = replace(config, device="cpu", cache=str(tmp_path))
        assert precisions(resolve_precision(local_config, local_config, lines.append)) == expected
        assert len(lines) == 1
        assert f"{message}, as bfloat16 trains {ratio:.2f} times as fast" in str(lines[0])


def test_speedup_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(device: str) -> float:
        calls.append(device)
        return 2.0 + len(calls)

    monkeypatch.setattr(precision, "measure_speedup", counted)
    assert stored_speedup(tmp_path, "cpu") is None
    assert [bfloat16_speedup(tmp_path, "cpu") for _ in range(3)] == [3.0, 3.0, 3.0]
    assert stored_speedup(tmp_path, "cpu") == 3.0
    here = hardware()
    for changed in ({"cpu": "another"}, {"torch": "9.9"}):
        monkeypatch.setattr(precision, "hardware", lambda changed=changed: here | changed)
        assert stored_speedup(tmp_path, "cpu") is None
        bfloat16_speedup(tmp_path, "cpu")
    assert calls == ["cpu"] * 3


def test_a_set_precision_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        precision, "measure_speedup", lambda device: pytest.fail("no precision is auto")
    )
    for said in ("float32", "bfloat16"):
        config = Config(cache=str(tmp_path), train=TrainConfig(precision=said))
        assert (
            resolve_precision(config, config, lambda line: pytest.fail("nothing was measured"))
            == config
        )
    assert not list(tmp_path.iterdir())


def test_the_speedup_is_the_median_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is fake: one warm-up call each, then three rounds of 10 : 5, 10 : 10 and 30 : 10
    seconds."""
    steps = [99, 1, 10, 5, 10, 10, 30, 10]

    def clock() -> Iterator[float]:
        now = 0.0
        for step in steps:
            yield now
            now += step
            yield now

    times = clock()
    monkeypatch.setattr(precision, "_now", lambda device: next(times))
    monkeypatch.setattr(precision, "MAX_SECONDS", 0.0)
    monkeypatch.setattr(precision, "LAYER_SHAPES", {"cpu": (4, 8)})
    assert measure_speedup("cpu") == 2.0
    assert next(times, None) is None, "all of them were asked for"


def test_a_real_measurement_does_not_change_the_process(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    begin = time.thread_time()
    speedup = bfloat16_speedup(tmp_path, "cpu")
    assert 0 < speedup < 100
    assert time.thread_time() - begin < 10
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    (file,) = tmp_path.glob("precision/*/speedup.json")
    assert json.loads(file.read_text()) == speedup == stored_speedup(tmp_path, "cpu")


@pytest.mark.parametrize(("name", "config"), SETTINGS)
def test_an_unresolved_precision_is_refused(name: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{name}.precision is 'auto'; allowed here"):
        set_up_device(config)
    cached_config = replace(config, cache=str(tmp_path))
    set_up_device(resolve_precision(cached_config, cached_config))


def test_a_teacher_is_scored_in_the_precision_of_its_training(
    scored: Datas,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def recorded_scores(
        model: Student, datas: Datas, layout: Layout, precision: str
    ) -> dict[str, float]:
        asked.append(precision)
        return selection_scores(model, datas, layout, precision)

    monkeypatch.setattr("mkd.training.fit.selection_scores", recorded_scores)
    for name in ("float32", "bfloat16"):
        train = TrainConfig(steps=2, batch_size=4, precision=name)
        teacher = TeacherConfig(layers=1, hidden=16, heads=2, train=train)
        stores = Stores(tmp_path, DataConfig(), 0)
        refined.load_or_refine(
            teacher, stores, ModelData(tokenizer, scored, torch.device("cpu")), 60
        )
    assert asked == ["float32", "bfloat16"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Datas:
    return make_datas(tmp_path_factory.mktemp("scored"), tasks_of(), tokenizer)


def test_a_model_answers_in_the_asked_precision(scored: Datas, tokenizer: Tokenizer) -> None:
    """The difference from float32 is not 0, and is within the error of 8 significant bits."""
    torch.manual_seed(0)
    teacher = untrained_teacher(TeacherConfig(layers=2, hidden=32, heads=2), 128, scored, tokenizer)
    layout = layout_of(tokenizer, True, 32)
    for data in scored:
        rows = labelled_rows(data)
        exact, half = (
            predict_logits(torch_infer(teacher, name), data.train, rows, data.name, layout)
            for name in ("float32", "bfloat16")
        )
        assert exact.dtype == half.dtype == np.float32
        difference = np.abs(exact - half).max()
        assert 0 < difference < 16 * 2**-8 * np.abs(exact).max()
    assert selection_scores(teacher, scored, layout, "bfloat16").keys() == {
        "single",
        "pair",
        "score",
        "mean",
    }
