from pathlib import Path

import pytest
import torch
from transformers import DistilBertConfig

from mkd.config import SpeedConfig, StudentConfig
from mkd.speed import flops, hardware, size_metrics, speed_metrics
from mkd.students import Student, make_student
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.heads import head_configs
from mkd.students.transformer import TransformerConfig, TransformerStudent
from mkd.tokens import TaskData

BILSTM = StudentConfig(kind="bilstm", hidden=5, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=2, heads=4)
STATISTICS = ("p50_ms", "p95_ms", "p99_ms", "rows_per_s")


def student_of(config: StudentConfig, datas: list[TaskData]) -> Student:
    return make_student(config, datas, 50, 32, None)


def test_metrics_name_the_model_the_shape_and_the_statistic(datas: list[TaskData]) -> None:
    models = {"": student_of(BILSTM, datas), "teacher/": student_of(TRANSFORMER, datas)}
    found = speed_metrics(models, SpeedConfig(length=8, batch_size=3, threads=1, repeats=4, warmup=1))
    assert found.keys() == {
        f"{prefix}speed/torch/b{rows}-l8-t1/{statistic}" for prefix in models for rows in (1, 3) for statistic in STATISTICS
    }
    for prefix in models:
        for rows in (1, 3):
            p50, p95, p99, rate = (found[f"{prefix}speed/torch/b{rows}-l8-t1/{statistic}"] for statistic in STATISTICS)
            assert 0 < p50 <= p95 <= p99
            assert rate == pytest.approx(rows * 1000 / p50)


def test_batches_of_one_row_are_measured_once(datas: list[TaskData]) -> None:
    found = speed_metrics({"": student_of(BILSTM, datas)}, SpeedConfig(length=8, batch_size=1, repeats=1, warmup=1))
    assert len(found) == len(STATISTICS)


def test_the_threads_are_as_stated_while_measuring_and_as_before_after_it(datas: list[TaskData]) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    progress: list[float] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        seen.append(torch.get_num_threads())
        progress.append(metrics["progress"])

    config = SpeedConfig(length=8, batch_size=1, threads=before + 1, repeats=2, warmup=1)
    speed_metrics({"": student_of(BILSTM, datas)}, config, report)
    assert seen == [before + 1]
    assert progress[-1] == 1
    assert torch.get_num_threads() == before


def test_the_threads_are_as_before_after_an_exception(datas: list[TaskData]) -> None:
    before = torch.get_num_threads()

    def stop(step: int, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speed_metrics({"": student_of(BILSTM, datas)}, SpeedConfig(length=8, threads=before + 1), stop)
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
