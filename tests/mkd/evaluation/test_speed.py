from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig

from mkd.config import SpeedConfig, StudentConfig
from mkd.evaluation.speed import (
    HEADLINE_SETTING,
    MOST_SECONDS,
    SPEED_ROUNDS,
    SpeedSetting,
    TimedModel,
    busy_note,
    dev_texts,
    evenly_spaced,
    flops,
    hardware,
    is_busy,
    limit_seconds,
    one_thread_settings,
    ratio_text,
    setting_calls,
    size_metrics,
    speed_metrics,
    speed_settings,
    time_models,
    with_missing_heads,
)
from mkd.evaluation.timing import MOST_BUSY, SPEED_PROTOCOL, Clock
from mkd.export.backends import in_torch
from mkd.runtime import inference
from mkd.runtime.texts import Text
from mkd.students import Student, make_student
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.heads import head_configs
from mkd.students.transformer import TransformerConfig, TransformerStudent
from mkd.tasks.task import Task
from mkd.teachers.task_teacher import RunnableModel
from tests.support.tiny import Datas, Tokenizer

BILSTM = StudentConfig(kind="bilstm", hidden=5, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=2, heads=4)
WORK: dict[str, list[Text]] = {
    "single": ["a film", "the sea", "rain"],
    "pair": [("a", "b"), ("the sea", "a film")],
}


def student_of(config: StudentConfig, datas: Datas) -> Student:
    return make_student(config, datas, 50, 32, None)


def timed(config: StudentConfig, datas: Datas, tokenizer: Tokenizer) -> TimedModel:
    return in_torch(RunnableModel(make_student(config, datas, len(tokenizer), 32, None), tokenizer))


def test_metrics_name_backend_setting_and_statistic(datas: Datas, tokenizer: Tokenizer) -> None:
    """With almost no time there is one pass: 20 calls of one row, or a call per task of many
    rows."""
    models = {
        "torch": timed(BILSTM, datas, tokenizer),
        "other": timed(TRANSFORMER, datas, tokenizer),
    }
    settings = speed_settings(SpeedConfig(length=8, batch_size=3, threads=[1, 2]))
    metrics = speed_metrics(models, WORK, settings, 1e-9, "teacher/")
    kinds = {"b1-text-t1": 20, "b1-l8-t1": 20, "b3-text-t1": 2, "b3-text-t2": 2}
    statistics = {
        name: {"calls", "rows_per_s"} | ({"p50_ms"} if calls >= 20 else set())
        for name, calls in kinds.items()
    }
    names = {
        f"teacher/speed/{model}/{kind}/{key}"
        for model in models
        for kind in kinds
        for key in statistics[kind]
    }
    assert metrics.keys() == names | {"teacher/speed/busy_share", "teacher/speed/protocol"}
    assert metrics["teacher/speed/protocol"] == SPEED_PROTOCOL
    assert 0 <= metrics["teacher/speed/busy_share"] <= 1
    for model in models:
        for kind, calls in kinds.items():
            assert metrics[f"teacher/speed/{model}/{kind}/calls"] == calls
            assert metrics[f"teacher/speed/{model}/{kind}/rows_per_s"] > 0
    assert speed_metrics(models, WORK, settings, 0) == {}, "with 0 seconds nothing is measured"


def test_each_setting_is_measured_once_the_headline_first() -> None:
    cores = inference.cores()
    many = [
        setting.name
        for setting in speed_settings(SpeedConfig(length=8, batch_size=4, threads=[cores, 0, 1]))
    ]
    expected = list(dict.fromkeys(["b1-text-t1", "b1-l8-t1", f"b4-text-t{cores}", "b4-text-t1"]))
    assert many == expected
    assert speed_settings(SpeedConfig(length=128, batch_size=1, threads=[1])) == [
        HEADLINE_SETTING,
        SpeedSetting(1, 128, 1),
    ]
    assert speed_settings(SpeedConfig(length=128, threads=[])) == [
        HEADLINE_SETTING,
        SpeedSetting(1, 128, 1),
    ]


def test_a_trial_has_the_settings_of_one_thread() -> None:
    assert [
        setting.name for setting in one_thread_settings(SpeedConfig(length=128, threads=[7, 1]))
    ] == [
        "b1-text-t1",
        "b1-l128-t1",
        "b32-text-t1",
    ]
    assert [
        setting.name for setting in one_thread_settings(SpeedConfig(length=128, threads=[7]))
    ] == [
        "b1-text-t1",
        "b1-l128-t1",
    ]


def test_a_run_measures_for_half_as_long_as_its_student_was_trained() -> None:
    assert limit_seconds(SpeedConfig(), 6.0).seconds == 3.0
    assert limit_seconds(SpeedConfig(), 3600.0) == SpeedConfig()


def test_texts_are_of_even_lengths(tasks: list[Task], datas: Datas, tokenizer: Tokenizer) -> None:
    work = dev_texts(tasks)
    assert list(work) == ["single", "pair", "score"]
    for task in tasks:
        rows = [
            (row.text_a, row.text_b) if task.kind.pair else row.text_a
            for row in task.dev[""].read()
        ]
        assert sorted(map(str, work[task.name])) == sorted(map(str, rows))
        lengths = [len("".join(text)) for text in work[task.name]]
        assert lengths == sorted(lengths)
    student = timed(BILSTM, datas, tokenizer).load(1)
    calls = setting_calls(student, np.arange(9), HEADLINE_SETTING, work)
    texts_of_calls = [(task, texts) for texts, task in (call.args for call in calls)]  # type: ignore[attr-defined]
    # Three tasks need seven texts each for 20 calls: those in the middle of each seventh of the
    # 20 rows.
    places = [1, 4, 7, 10, 12, 15, 18]
    assert texts_of_calls == [(task, [work[task][place]]) for place in places for task in work]
    many = [call.args for call in setting_calls(student, np.arange(9), SpeedSetting(5, 0, 1), work)]  # type: ignore[attr-defined]
    assert many == [([work[task][place] for place in (2, 6, 10, 14, 18)], task) for task in work]


def test_even_steps_by_hand() -> None:
    assert evenly_spaced(["a", "b", "c", "d"], 2) == ["b", "d"]
    assert evenly_spaced(["a", "b"], 5) == ["a", "a", "b", "b", "b"]


class ManualClock:
    """A clock that only advances by the calls of its models, which do nothing else."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Clock(lambda: self.now, lambda: self.now, lambda: self.now, lambda: self.now)

    def model(self, seconds: float, datas: Datas, tokenizer: Tokenizer) -> TimedModel:
        original = timed(BILSTM, datas, tokenizer)

        def advance(*asked: object) -> object:
            self.now += seconds
            return None

        def load(threads: int) -> inference.Student:
            student = original.load(threads)
            student.predict = student.infer = advance  # type: ignore[assignment, method-assign]
            return student

        return original._replace(load=load)


def test_a_model_has_no_more_than_its_share(datas: Datas, tokenizer: Tokenizer) -> None:
    """Each of two models has 0.75 of the 3 s in each of two settings. A pass takes 20 ms for the
    fast model, and 20 s for the slow one, whose calls take 1 s."""
    manual = ManualClock()
    models = {
        "fast": manual.model(2**-10, datas, tokenizer),
        "slow": manual.model(1.0, datas, tokenizer),
    }
    blocks = time_models(
        models, WORK, [HEADLINE_SETTING, SpeedSetting(1, 8, 1)], 3.0, clock=manual.clock
    )
    for setting in (HEADLINE_SETTING, SpeedSetting(1, 8, 1)):
        fast, slow = blocks["fast", setting], blocks["slow", setting]
        assert len(fast) == SPEED_ROUNDS and all(len(block.seconds) % 20 == 0 for block in fast)
        assert len({len(block.seconds) for block in fast}) <= 2, "rounds have nearly as many passes"
        fast_seconds = sum(len(block.seconds) + 20 for block in fast) * 2**-10
        assert 0.75 - 20 * 2**-10 <= fast_seconds <= 0.75 + 20 * 2**-10
        # One pass, however long it takes, and no second round.
        assert [len(block.seconds) for block in slow] == [20]


def test_a_share_ends_however_many_seconds_there_are(datas: Datas, tokenizer: Tokenizer) -> None:
    manual = ManualClock()
    time_models(
        {"": manual.model(2**-10, datas, tokenizer)},
        WORK,
        [HEADLINE_SETTING],
        1000.0,
        clock=manual.clock,
    )
    assert MOST_SECONDS <= manual.now <= MOST_SECONDS + 20 * 2**-10


def test_a_task_without_a_head_is_answered_by_another(datas: Datas, tokenizer: Tokenizer) -> None:
    """A classifier of one task is compared with a student of several: both get the same texts."""
    one = timed(TRANSFORMER, datas[:1], tokenizer).load(1)
    assert list(one.heads) == ["single"]
    able = with_missing_heads(one, WORK)
    assert [able.head("pair").pair, able.head("single").pair] == [True, False]
    assert all(answer.error is None for answer in able.predict(WORK["pair"], "pair"))
    assert able.predict(WORK["single"], "single") == one.predict(WORK["single"], "single")
    assert with_missing_heads(able, WORK) is able


def test_threads_are_as_stated_and_restored_afterwards(datas: Datas, tokenizer: Tokenizer) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    model = timed(BILSTM, datas, tokenizer)

    def load(threads: int) -> inference.Student:
        seen.append(torch.get_num_threads())
        return model.load(threads)

    time_models(
        {"": model._replace(load=load)},
        WORK,
        [SpeedSetting(1, 8, before + 1), SpeedSetting(1, 0, 1)],
        1e-9,
    )
    assert seen == [before + 1, 1]
    assert torch.get_num_threads() == before


def test_the_threads_are_restored_after_an_exception(datas: Datas, tokenizer: Tokenizer) -> None:
    before = torch.get_num_threads()

    def stop(threads: int) -> inference.Student:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_models(
            {"": TimedModel(stop, np.arange(5))}, WORK, [SpeedSetting(1, 8, before + 1)], 1.0
        )
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("ratio", "busy", "message"),
    [
        (7.08, False, "7.1"),
        (7.08, True, "about 7"),
        (0.44, False, "0.4"),
        (0.44, True, "about 0.4"),
    ],
)
def test_a_ratio_of_a_busy_machine_says_that_it_is_not_precise(
    ratio: float, busy: bool, message: str
) -> None:
    assert ratio_text(ratio, busy) == message


def test_a_busy_machine_is_reported_for_the_student_and_the_teacher() -> None:
    quiet = {
        "speed/busy_share": MOST_BUSY,
        "teacher/speed/busy_share": 0.0,
        "speed/torch/b1-text-t1/p50_ms": 9.0,
    }
    assert not is_busy(quiet) and busy_note(quiet) == []
    busy = quiet | {"teacher/speed/busy_share": 0.234}
    assert is_busy(busy)
    (note,) = busy_note(busy)
    assert note.startswith("the machine was busy when the teacher was timed: other work had 23 %")
    (note,) = busy_note(quiet | {"speed/busy_share": 0.5})
    assert "when the speed was timed: other work had 50 %" in note


def test_flops_of_a_transformer_by_formula(datas: Datas) -> None:
    """A layer has for each token four maps H x H and two maps H x 4H, and two products L x L x H.
    Then comes the head. A multiply-add counts as 2."""
    length, hidden, layers = 10, 16, 2
    layer = 4 * length * hidden**2 + 2 * length * hidden * 4 * hidden + 2 * length**2 * hidden
    assert flops(student_of(TRANSFORMER, datas), length) == 2 * (layers * layer + hidden * 2)


def test_flops_of_a_bilstm_by_formula(datas: Datas) -> None:
    """An LSTM has four gates of H x (E + H) for each token in each direction."""
    length, width, hidden = 10, 6, 5
    both = 2 * hidden
    lstm = 2 * length * 4 * hidden * (width + hidden)
    integrator = 2 * length * 4 * hidden * (3 * both + hidden)
    attention = 2 * length**2 * both
    maxouts = 8 * both * 2 * both + both * 2 * both
    rest = length * width**2 + attention + length * both + maxouts + both * 2
    alone = 2 * (lstm + integrator + rest)
    assert flops(student_of(replace(BILSTM, words=False), datas), length) == alone
    # With words: their mean, 6E + 1 more inputs of the first maxout layer, and n-grams of 1 to 3.
    words = length * width + (6 * width + 1) * 2 * both + 3 * length * 2
    assert flops(student_of(BILSTM, datas), length) == alone + 2 * words


def test_counting_flops_leaves_the_backends_as_they_were(datas: Datas) -> None:
    before = (
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.cuda.math_sdp_enabled(),
    )
    flops(student_of(TRANSFORMER, datas), 4)
    assert (
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.cuda.math_sdp_enabled(),
    ) == before


def test_an_encoder_without_token_types_can_be_measured(datas: Datas) -> None:
    sizes = DistilBertConfig(
        vocab_size=50, dim=16, n_heads=2, n_layers=1, hidden_dim=32, max_position_embeddings=16
    )
    model = TransformerStudent(
        TransformerConfig(encoder=sizes.to_dict(), tasks=head_configs(datas))
    )
    length, hidden = 8, 16
    layer = 4 * length * hidden**2 + 2 * length * hidden * 32 + 2 * length**2 * hidden
    assert flops(model, length) == 2 * (layer + hidden * 2)


def test_sizes_by_hand(datas: Datas, tmp_path: Path) -> None:
    model = BiLstmStudent(
        BiLstmConfig(vocab_size=50, embedding=6, hidden=5, tasks=head_configs(datas[:1]))
    )
    model.save_pretrained(tmp_path)
    metrics = size_metrics(model, tmp_path, 10)
    both = 10
    lstms = 2 * (4 * 5 * (6 + 5) + 2 * 4 * 5) + 2 * (4 * 5 * (3 * both + 5) + 2 * 4 * 5)
    maxouts = (8 * both + 1) * 2 * both + (both + 1) * 2 * both
    rest = 6 * 6 + 6 + lstms + (both + 1) + maxouts + (both + 1) * 2
    assert metrics == {
        "size/parameters": 50 * 6 + rest,
        "size/parameters_without_embeddings": rest,
        "size/bytes": (tmp_path / "model.safetensors").stat().st_size,
        "size/flops": flops(model, 10),
    }
    assert metrics["size/bytes"] > 4 * (50 * 6 + rest)


def test_the_hardware_is_described_in_words() -> None:
    description = hardware()
    assert description.keys() == {"cpu", "cores", "memory_gib", "gpu", "torch", "system"}
    assert all(description.values())
    assert description["torch"] == torch.__version__
