import json
from pathlib import Path

import pytest

from experiments import cli, throughput
from experiments.benchmark.loops import LOOPS
from experiments.benchmark.loops import LoopTimings as Measured
from experiments.benchmark.loops import time_loops as loops
from experiments.settings import ThroughputSettings
from mkd.config import DataConfig, DemoConfig, TeacherConfig, ThroughputConfig, TrainConfig


def config_of(cache: Path, task: str) -> ThroughputSettings:
    return ThroughputSettings(
        cache=str(cache),
        data=DataConfig(
            tasks=[task], demo=DemoConfig(train_rows=60, unlabelled_rows=0, dev_rows=10)
        ),
        teacher=TeacherConfig(layers=1, hidden=16, heads=2, vocabulary=100),
        train=TrainConfig(batch_size=8),
        throughput=ThroughputConfig(students=["2x128"], batches=2, rounds=1),
    )


def measured(config: ThroughputSettings) -> Measured:
    return loops(config.core(), config.throughput)


def test_every_training_loop_is_timed_and_compared_with_the_plain_one(tmp_path: Path) -> None:
    comparison = measured(config_of(tmp_path, "sentiment"))
    assert [timing.loop for timing in comparison.timings] == list(LOOPS)
    assert comparison.rows == 16
    plain = comparison.timings[0]
    assert plain.ratio == 1
    for timing in comparison.timings:
        assert timing.ratio == pytest.approx(plain.seconds.cpu / timing.seconds.cpu)
        assert 0 < timing.matrix_share < 1
    # All loops have the same number of FLOPs, so shares are inversely proportional to seconds.
    shares = {timing.matrix_share * timing.seconds.cpu for timing in comparison.timings}
    assert max(shares) == pytest.approx(min(shares))


def test_pairs_are_refused(tmp_path: Path) -> None:
    message = "data.tasks: the first is similarity; allowed: a task of single texts"
    with pytest.raises(ValueError, match=message):
        measured(config_of(tmp_path, "similarity"))


def test_the_last_line_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--data.tasks", "[sentiment]", "--data.demo.train_rows", "60",
        "--data.demo.unlabelled_rows", "0",
    ]  # fmt: skip
    arguments += [
        "--teacher.layers",
        "1",
        "--teacher.hidden",
        "16",
        "--teacher.vocabulary",
        "100",
        "--train.batch_size",
        "8",
    ]
    arguments += [
        "--train.precision",
        "bfloat16",
        "--throughput.students",
        "[bilstm]",
        "--throughput.batches",
        "1",
        "--throughput.rounds",
        "1",
    ]
    code = cli.entry(
        throughput.compare_loops,
        "",
        ThroughputSettings,
        [*arguments, "--json", "--cache", str(tmp_path)],
    )
    assert code == 0
    *_, last = capsys.readouterr().out.strip().split("\n")
    content = json.loads(last)
    ratios = {(t["student"], t["loop"]): t["ratio"] for t in content["timings"]}
    assert content["ratio_to_plain_float32"] == {"bilstm": ratios["bilstm", "mkd, float32"]}
    assert (
        content["ratio_to_plain_bfloat16"]
        == {"bilstm": ratios["bilstm", "mkd, bfloat16"]}
        == content["ratio_to_plain"]
    )
