from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, PreTrainedTokenizerBase

from mkd import runtime
from mkd.backends import in_torch
from mkd.config import SpeedConfig, StudentConfig
from mkd.speed import (
    Setting,
    Timed,
    flops,
    hardware,
    measure,
    settings,
    size_metrics,
    speed_metrics,
    told,
)  # fmt: skip
from mkd.students import Student, make_student
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.heads import head_configs
from mkd.students.transformer import TransformerConfig, TransformerStudent
from mkd.tokens import TaskData

BILSTM = StudentConfig(kind="bilstm", hidden=5, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=2, heads=4)
WORK: dict[str, list[runtime.Text]] = {"single": ["a film", "the sea", "rain"], "pair": [("a", "b"), ("the sea", "a film")]}
STATISTICS = ("p50_ms", "p95_ms", "p99_ms", "rows_per_s")


def student_of(config: StudentConfig, datas: list[TaskData]) -> Student:
    return make_student(config, datas, 50, 32, None)


def timed(config: StudentConfig, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> Timed:
    return in_torch(make_student(config, datas, len(tokenizer), 32, None), tokenizer)


def test_metrics_name_the_model_the_setting_and_the_statistic(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    models = {"speed/torch": timed(BILSTM, datas, tokenizer), "teacher/speed/torch": timed(TRANSFORMER, datas, tokenizer)}
    config = SpeedConfig(length=8, batch_size=3, threads=[1, 2], repeats=4, warmup=1)
    found = speed_metrics(models, WORK, config)
    settings = [f"b{rows}-{length}-t{threads}" for rows in (1, 3) for length in ("l8", "text") for threads in (1, 2)]
    assert found.keys() == {f"{model}/{setting}/{name}" for model in models for setting in settings for name in STATISTICS}
    for model in models:
        for rows in (1, 3):
            p50, p95, p99, rate = (found[f"{model}/b{rows}-l8-t1/{statistic}"] for statistic in STATISTICS)
            assert 0 < p50 <= p95 <= p99
            assert rate == pytest.approx(rows * 1000 / p50)


def test_statistics_by_hand() -> None:
    found = told([4.0, 1.0, 3.0, 2.0, 5.0], rows=6)
    assert found == pytest.approx({"p50_ms": 3.0, "p95_ms": 4.8, "p99_ms": 4.96, "rows_per_s": 2000.0})


def test_settings_are_each_measured_once() -> None:
    cores = runtime.cores()
    config = SpeedConfig(length=8, batch_size=1, threads=[cores, 0])
    assert [setting.name for setting in settings(config, texts=True)] == [
        f"b1-l8-t{cores}",
        f"b1-text-t{cores}",
    ]
    assert [setting.name for setting in settings(config, texts=False)] == [f"b1-l8-t{cores}"]


def test_models_answer_the_same_texts_task_after_task(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    asked: dict[str, list[tuple[str, list[runtime.Text]]]] = {"one": [], "other": []}

    def watched(name: str) -> Timed:
        model = timed(BILSTM, datas, tokenizer)

        def load(threads: int) -> runtime.Student:
            student = model.load(threads)
            predict = student.predict

            def told(texts: Sequence[runtime.Text], task: str) -> list[runtime.Prediction]:
                asked[name].append((task, list(texts)))
                return predict(texts, task)

            student.predict = told  # type: ignore[method-assign]
            return student

        return model._replace(load=load)

    config = SpeedConfig(batch_size=2, repeats=3, warmup=1)
    measure({name: watched(name) for name in asked}, Setting(2, 0, 1), WORK, config)
    first, second = WORK["single"], WORK["pair"]
    expected = [("single", first[:2]), ("pair", second[:2]), ("single", [first[2], first[0]]), ("pair", second[:2])]
    assert asked["one"] == asked["other"] == expected


def test_measuring_ends_when_its_time_is_over(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    config = SpeedConfig(repeats=1000, warmup=1, seconds=1e-6)
    times = measure({"": timed(BILSTM, datas, tokenizer)}, Setting(1, 8, 1), {}, config)
    assert [len(found) for found in times.values()] == [5]


def test_the_threads_are_as_stated_while_measuring_and_as_before_after_it(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    model = timed(BILSTM, datas, tokenizer)

    def load(threads: int) -> runtime.Student:
        seen.append(torch.get_num_threads())
        return model.load(threads)

    measure({"": model._replace(load=load)}, Setting(1, 8, before + 1), {}, SpeedConfig(repeats=1, warmup=1))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_the_threads_are_as_before_after_an_exception(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    before = torch.get_num_threads()

    def stop(threads: int) -> runtime.Student:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure({"": Timed(stop, np.arange(5))}, Setting(1, 8, before + 1), {}, SpeedConfig())
    assert torch.get_num_threads() == before


def test_flops_of_a_transformer_by_formula(datas: list[TaskData]) -> None:
    """A layer: four maps H x H and two H x 4H of each token, and two products L x L x H; then the head; 2 a multiply-add."""
    length, hidden, layers = 10, 16, 2
    layer = 4 * length * hidden**2 + 2 * length * hidden * 4 * hidden + 2 * length**2 * hidden
    assert flops(student_of(TRANSFORMER, datas), length) == 2 * (layers * layer + hidden * 2)


def test_flops_of_a_bilstm_by_formula(datas: list[TaskData]) -> None:
    """An LSTM: four gates, each of H x (E + H), for each token in each direction."""
    length, width, hidden = 10, 6, 5
    both = 2 * hidden
    lstm = 2 * length * 4 * hidden * (width + hidden)
    integrator = 2 * length * 4 * hidden * (3 * both + hidden)
    attention = 2 * length**2 * both
    maxouts = 8 * both * 2 * both + both * 2 * both
    rest = length * width**2 + attention + length * both + maxouts + both * 2
    assert flops(student_of(BILSTM, datas), length) == 2 * (lstm + integrator + rest)


def test_counting_flops_leaves_the_backends_as_they_were(datas: list[TaskData]) -> None:
    before = (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.cuda.math_sdp_enabled())
    flops(student_of(TRANSFORMER, datas), 4)
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.cuda.math_sdp_enabled()) == before


def test_an_encoder_without_token_types_can_be_measured(datas: list[TaskData]) -> None:
    sizes = DistilBertConfig(vocab_size=50, dim=16, n_heads=2, n_layers=1, hidden_dim=32, max_position_embeddings=16)
    model = TransformerStudent(TransformerConfig(encoder=sizes.to_dict(), tasks=head_configs(datas)))
    length, hidden = 8, 16
    layer = 4 * length * hidden**2 + 2 * length * hidden * 32 + 2 * length**2 * hidden
    assert flops(model, length) == 2 * (layer + hidden * 2)


def test_sizes_by_hand(datas: list[TaskData], tmp_path: Path) -> None:
    model = BiLstmStudent(BiLstmConfig(vocab_size=50, embedding=6, hidden=5, tasks=head_configs(datas[:1])))
    model.save_pretrained(tmp_path)
    found = size_metrics(model, tmp_path, 10)
    both = 10
    lstms = 2 * (4 * 5 * (6 + 5) + 2 * 4 * 5) + 2 * (4 * 5 * (3 * both + 5) + 2 * 4 * 5)
    maxouts = (8 * both + 1) * 2 * both + (both + 1) * 2 * both
    rest = 6 * 6 + 6 + lstms + (both + 1) + maxouts + (both + 1) * 2
    assert found == {
        "size/parameters": 50 * 6 + rest,
        "size/parameters_without_embeddings": rest,
        "size/bytes": (tmp_path / "model.safetensors").stat().st_size,
        "size/flops": flops(model, 10),
    }
    assert found["size/bytes"] > 4 * (50 * 6 + rest)


def test_the_hardware_is_told_in_words() -> None:
    found = hardware()
    assert found.keys() == {"cpu", "cores", "memory_gib", "gpu", "torch", "system"}
    assert all(found.values())
    assert found["torch"] == torch.__version__
