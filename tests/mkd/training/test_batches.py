from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from mkd.config import SamplingConfig
from mkd.runtime.layout import Layout, Texts, sequence_lengths
from mkd.storage.pretrained import load_tokenizer
from mkd.tokenization.tokens import Inputs, TaskData, TokenStore, layout_of
from mkd.training.batches import (
    Batch,
    TaskRows,
    epoch_batches,
    gather_inputs,
    joint_batches,
    task_order,
    task_probabilities,
)
from tests.support.tiny import MINILM, Datas, Tokenizer, from_texts, pair_rows

APART = Layout(False, 9, 4)
BERT = Layout(True, 0, 12, (101,), (102,), (102,), types=True)
ROBERTA = Layout(True, 1, 13, (0,), (2, 2), (2,))


def texts(*rows: list[int]) -> Texts:
    return Texts(np.array(sum(rows, []), dtype="<i4"), np.cumsum([0, *map(len, rows)], dtype="<i8"))


def store(a: Texts, b: Texts | None = None) -> TokenStore:
    return TokenStore(a, b, np.arange(len(a.offsets) - 1, dtype="<f4"), "")


def lists(inputs: Inputs) -> tuple[list[list[list[int]]], list[list[list[int]]]]:
    return inputs.ids.tolist(), inputs.mask.int().tolist()


def sources(datas: Datas) -> list[TaskRows]:
    return [TaskRows(data, data.train_rows, None) for data in datas]


@pytest.mark.parametrize("max_length", [64, 13, 12, 9, 8, 7])
def test_joined_pairs_are_as_the_tokenizer_makes_them(max_length: int) -> None:
    tokenizer = load_tokenizer(MINILM, "teacher.checkpoint")
    rows = pair_rows(40, 3)
    first, second = [row.text_a for row in rows], [str(row.text_b) for row in rows]
    places = np.random.default_rng(0).permutation(40)[:16]
    layout = layout_of(tokenizer, True, max_length)
    inputs = gather_inputs(from_texts(tokenizer, first, second, max_length), places, layout)
    expected = tokenizer(
        [first[i] for i in places],
        [second[i] for i in places],
        truncation="longest_first",
        max_length=max_length,
        padding=True,
        return_tensors="pt",
    )
    assert inputs.types is not None
    assert torch.equal(inputs.ids[:, 0], expected["input_ids"])
    assert torch.equal(inputs.mask[:, 0].long(), expected["attention_mask"])
    assert torch.equal(inputs.types, expected["token_type_ids"])


@pytest.mark.parametrize("max_length", [64, 6, 5])
def test_single_texts_are_the_tokenizers_own(max_length: int, tokenizer: Tokenizer) -> None:
    first = [row.text_a for row in pair_rows(20, 3)]
    inputs = gather_inputs(
        from_texts(tokenizer, first, None, max_length),
        np.arange(20),
        layout_of(tokenizer, True, max_length),
    )
    expected = tokenizer(
        first, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
    )
    assert inputs.types is not None
    assert torch.equal(inputs.ids[:, 0], expected["input_ids"])
    assert torch.equal(inputs.mask[:, 0].long(), expected["attention_mask"])
    assert torch.equal(inputs.types, expected["token_type_ids"])


@pytest.mark.parametrize(
    ("a", "b", "kept"),
    [
        (9, 9, (4, 5)), (5, 9, (4, 5)), (9, 5, (5, 4)), (9, 2, (7, 2)), (2, 9, (2, 7)),
        (5, 4, (5, 4)), (4, 5, (4, 5)), (0, 20, (0, 9)),
    ],
)  # fmt: skip
def test_the_longer_text_is_cut_first(a: int, b: int, kept: tuple[int, int]) -> None:
    """12 positions minus 3 special tokens leave 9 for the texts."""
    inputs = gather_inputs(store(texts([5] * a), texts([6] * b)), np.array([0]), BERT)
    assert lists(inputs)[0] == [[[101, *[5] * kept[0], 102, *[6] * kept[1], 102]]]


def test_joined_rows_by_hand() -> None:
    both = store(texts([5, 6], [7]), texts([8], [5, 5, 5]))
    ids, mask = lists(gather_inputs(both, np.array([0, 1, 0]), ROBERTA))
    assert ids == [
        [[0, 5, 6, 2, 2, 8, 2, 1]],
        [[0, 7, 2, 2, 5, 5, 5, 2]],
        [[0, 5, 6, 2, 2, 8, 2, 1]],
    ]
    assert mask == [[[1] * 7 + [0]], [[1] * 8], [[1] * 7 + [0]]]
    assert gather_inputs(both, np.array([0, 1]), ROBERTA).types is None
    types = gather_inputs(both, np.array([0, 1]), BERT).types
    assert types is not None
    assert types.tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]]


def test_texts_kept_apart_by_hand() -> None:
    both = store(texts([5, 6], [7], []), texts([8], [5, 5, 5, 5, 5], [3]))
    ids, mask = lists(gather_inputs(both, np.array([1, 0]), APART))
    assert ids == [[[7, 9, 9, 9], [5, 5, 5, 5]], [[5, 6, 9, 9], [8, 9, 9, 9]]]
    assert mask == [[[1, 0, 0, 0], [1, 1, 1, 1]], [[1, 1, 0, 0], [1, 0, 0, 0]]]
    ids, mask = lists(gather_inputs(both, np.array([2, 0]), APART))
    assert ids == [[[9, 9], [3, 9]], [[5, 6], [8, 9]]]
    # A text without a token becomes one padding token.
    assert mask == [[[1, 0], [1, 0]], [[1, 1], [1, 0]]]


def test_single_texts_kept_apart_by_hand() -> None:
    ids, mask = lists(gather_inputs(store(texts([5, 6], [], [7])), np.array([0, 1, 2]), APART))
    assert ids == [[[5, 6]], [[9, 9]], [[7, 9]]]
    assert mask == [[[1, 1]], [[1, 0]], [[1, 0]]]


def test_lengths_are_of_the_joined_sequence_or_of_the_longer_text() -> None:
    both = store(texts([5, 6], [7]), texts([8], [5, 5, 5]))
    assert sequence_lengths(both, BERT, np.array([0, 1])).tolist() == [3, 4]
    assert sequence_lengths(both, APART, np.array([1, 0, 1])).tolist() == [3, 2, 3]
    assert sequence_lengths(both._replace(b=None), BERT, np.array([0, 1])).tolist() == [2, 1]


@pytest.mark.parametrize(("num", "batch_size"), [(1, 4), (64, 4), (1003, 5)])
def test_an_epoch_has_every_row_exactly_once(num: int, batch_size: int) -> None:
    rows = np.arange(num) * 2
    batches = list(
        epoch_batches(rows, lambda rows: rows % 17, batch_size, np.random.default_rng(0))
    )
    assert sorted(np.concatenate(batches)) == rows.tolist()


@pytest.mark.parametrize(
    ("num", "sizes"),
    [
        (1, {1: 1}), (8, {4: 2}), (9, {3: 3}), (10, {3: 2, 4: 1}), (66, {3: 2, 4: 15}),
        (257, {3: 3, 4: 62}), (513, {3: 3, 4: 126}),
    ],
)  # fmt: skip
def test_the_batches_of_an_epoch_differ_by_one_row_at_most(num: int, sizes: dict[int, int]) -> None:
    """Batches have at most 4 rows, and 64 batches are a pool. So the last two cases have a pool of
    one batch, and one with one row more."""
    for seed in range(5):
        batches = epoch_batches(
            np.arange(num), lambda rows: rows % 17, 4, np.random.default_rng(seed)
        )
        assert Counter(map(len, batches)) == sizes


def test_long_rows_weigh_as_much_as_short_ones() -> None:
    """A row weighs 1 / (rows of its batch); the mean over epochs must be 3 / 130. There are 130
    rows in batches of at most 64. A remainder of two rows, which are the longest, would weigh 1 / 2
    each."""
    weight_R = np.zeros(130)
    for epoch in range(200):
        for batch in epoch_batches(
            np.arange(130), lambda rows: rows, 64, np.random.default_rng(epoch)
        ):
            weight_R[batch] += 1 / len(batch) / 200
    np.testing.assert_allclose(weight_R, 3 / 130, rtol=0.02)


def test_which_batches_are_a_row_short_does_not_depend_on_length() -> None:
    """Of 9 rows in batches of 2, one is alone. Over 300 epochs it is at each of the 5 positions
    about equally often."""
    alone = Counter(
        int(batch[0]) // 2 * 2
        for epoch in range(300)
        for batch in epoch_batches(np.arange(9), lambda rows: rows, 2, np.random.default_rng(epoch))
        if len(batch) == 1
    )
    assert alone.total() == 300 and set(alone) == {0, 2, 4, 6, 8}
    assert all(abs(times - 60) < 4 * (60 * 0.8) ** 0.5 for times in alone.values())


def test_batches_of_like_length_have_less_padding_than_shuffled_ones() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 2000)

    def places(batches: list[np.ndarray]) -> int:
        return sum(int(lengths[batch].max()) * len(batch) for batch in batches)

    shuffled = np.random.default_rng(1).permutation(2000)
    unsorted = places([shuffled[i : i + 16] for i in range(0, 2000, 16)])
    pooled = places(
        list(epoch_batches(np.arange(2000), lengths.__getitem__, 16, np.random.default_rng(1)))
    )
    text = int(lengths.sum())
    assert pooled - text < 0.1 * (unsorted - text)


def test_the_next_epoch_has_the_same_rows_in_another_order(datas: Datas) -> None:
    data = datas[0]
    count = -(-len(data.train_rows) // 6)
    batches = joint_batches(sources([data]), APART, 6, SamplingConfig(), seed=0)

    def rows(batch: Batch) -> list[tuple[int, ...]]:
        return [
            tuple(ids[mask].tolist())
            for ids, mask in zip(batch.inputs.ids[:, 0], batch.inputs.mask[:, 0], strict=True)
        ]

    epochs = [[row for batch in islice(batches, count) for row in rows(batch)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


def _first(datas: Datas, seed: int) -> list[Batch]:
    return list(islice(joint_batches(sources(datas), BERT, 8, SamplingConfig(), seed), 30))


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(datas: Datas) -> None:
    first, again, other = (_first(datas, seed) for seed in (0, 0, 1))
    assert all(
        a.task == b.task and torch.equal(a.inputs.ids, b.inputs.ids)
        for a, b in zip(first, again, strict=True)
    )
    assert [batch.task for batch in first] != [batch.task for batch in other]
    one, another = (
        next(batch for batch in batches if batch.task == "single").inputs.ids
        for batches in (first, other)
    )
    assert one.shape != another.shape or not torch.equal(one, another)


def test_a_task_draws_the_same_rows_whatever_other_tasks_there_are(datas: Datas) -> None:
    mixed = [batch for batch in _first(datas, 0) if batch.task == "pair"]
    alone = _first([data for data in datas if data.name == "pair"], 0)
    assert len(mixed) > 3
    assert all(torch.equal(a.inputs.ids, b.inputs.ids) for a, b in zip(mixed, alone, strict=False))


def test_a_batch_holds_the_labels_and_teacher_logits_of_its_rows(datas: Datas) -> None:
    data = datas[2]
    teacher = np.stack(
        [np.arange(len(data.train.labels)), -np.arange(len(data.train.labels))], axis=1
    ).astype("<f4")
    seen: list[int] = []
    for batch in islice(
        joint_batches([TaskRows(data, data.train_rows, teacher)], BERT, 5, SamplingConfig(), 0), 7
    ):
        assert batch.teacher_BC is not None
        rows = batch.teacher_BC[:, 0].long().numpy()
        assert torch.equal(batch.inputs.ids, gather_inputs(data.train, rows, BERT).ids)
        np.testing.assert_allclose(
            batch.labels_B.numpy() * data.std + data.mean, data.train.labels[rows], atol=1e-5
        )
        seen += rows.tolist()
    assert sorted(seen) == data.train_rows.tolist()


def _sized(*sizes: int) -> list[TaskRows]:
    return [
        TaskRows(data, np.arange(size), None)
        for data, size in zip(_named("a", "b", "c"), sizes, strict=True)
    ]


def _named(*names: str) -> Datas:
    empty = np.empty(0)
    return [TaskData(name, None, None, {}, empty, empty, 0.0, 1.0) for name in names]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (SamplingConfig(alpha=1.0), [1 / 14, 4 / 14, 9 / 14]),
        (SamplingConfig(alpha=0.0), [1 / 3, 1 / 3, 1 / 3]),
        (SamplingConfig(alpha=0.5), [1 / 6, 2 / 6, 3 / 6]),
        (SamplingConfig(weights={"c": 1.0, "a": 3.0, "b": 0.0}), [3 / 4, 0, 1 / 4]),
    ],
)
def test_probabilities_by_hand(sampling: SamplingConfig, expected: list[float]) -> None:
    assert task_probabilities(_sized(1, 4, 9), sampling).tolist() == pytest.approx(expected)


TINY = np.nextafter(0, 1)


@pytest.mark.parametrize(
    ("sizes", "sampling", "expected"),
    [
        ((10**6, 10**6, 1), SamplingConfig(alpha=10.0), [1 / 2, 1 / 2, 1e-60 / 2]),
        ((10**6, 1, 10**6), SamplingConfig(alpha=-10.0, alpha_end=10.0), [1e-60, 1, 1e-60]),
        ((1, 1, 1), SamplingConfig(alpha=10.0), [1 / 3, 1 / 3, 1 / 3]),
        (
            (8, 4, 4),
            SamplingConfig(alpha=10.0),
            [1 / (1 + 2**-9), 2**-10 / (1 + 2**-9), 2**-10 / (1 + 2**-9)],
        ),
        ((1, 1, 1), SamplingConfig(weights={"a": TINY, "b": TINY, "c": 0.0}), [1 / 2, 1 / 2, 0]),
        ((1, 1, 1), SamplingConfig(weights={"a": 1e9, "b": 1e9, "c": TINY}), [1 / 2, 1 / 2, 0]),
    ],
)
def test_probabilities_are_finite_with_any_settings(
    sizes: tuple[int, ...], sampling: SamplingConfig, expected: list[float]
) -> None:
    probabilities = task_probabilities(_sized(*sizes), sampling)
    assert probabilities.tolist() == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(task_probabilities(_sized(*sizes), sampling, 0.5)).all()
    drawn = Counter(
        islice(task_order(_sized(*sizes), replace(sampling, alpha_end=None), 0, 1, 4), 400)
    )
    assert all(drawn[place] == 0 for place, chance in enumerate(expected) if chance < 1e-12)


@pytest.mark.parametrize(
    "weights", [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}]
)
def test_weights_that_do_not_name_just_the_tasks_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError) as caught:
        task_probabilities(_sized(1, 4, 9), SamplingConfig(weights=weights))
    message = (
        f"sampling.weights names {sorted(weights)}; allowed: a weight for each of ['a', 'b', 'c']"
    )
    assert str(caught.value) == message


def test_tasks_are_drawn_about_as_often_as_they_should_be(datas: Datas) -> None:
    sampling = SamplingConfig(weights={"single": 0.5, "pair": 0.3, "score": 0.2})
    drawn = Counter(
        batch.task for batch in islice(joint_batches(sources(datas), APART, 1, sampling, 0), 2000)
    )
    for task, weight in sampling.weights.items():
        assert abs(drawn[task] / 2000 - weight) < 4 * (weight * (1 - weight) / 2000) ** 0.5


def test_alpha_moves_linearly_over_the_training() -> None:
    """Tasks have 1, 4 and 9 rows. Alpha is 1 at the start, 1/2 halfway and 0 at the end."""
    sampling = SamplingConfig(alpha=1.0, alpha_end=0.0)
    probabilities = [
        task_probabilities(_sized(1, 4, 9), sampling, share).tolist() for share in (0.0, 0.5, 1.0)
    ]
    assert probabilities == [
        pytest.approx(row)
        for row in ([1 / 14, 4 / 14, 9 / 14], [1 / 6, 2 / 6, 3 / 6], [1 / 3, 1 / 3, 1 / 3])
    ]


def test_tasks_are_drawn_with_the_alpha_of_the_step() -> None:
    """Tasks have 16, 1 and 1 rows. The probability of the large task is 16/18 at the start and 1/3
    from the end on."""
    draws = 6000
    order = list(
        islice(
            task_order(_sized(16, 1, 1), SamplingConfig(alpha=1.0, alpha_end=0.0), 0, draws, 4),
            9000,
        )
    )
    alphas = 1 - np.arange(draws) / (draws - 1)
    chances = 16**alphas / (16**alphas + 2)
    for span in (slice(0, 1000), slice(2500, 3500), slice(5000, 6000)):
        expected = chances[span].mean()
        difference = abs(order[span].count(0) / 1000 - expected)
        assert difference < 4 * (expected * (1 - expected) / 1000) ** 0.5
    assert abs(order[6000:].count(0) / 3000 - 1 / 3) < 4 * (2 / 9 / 3000) ** 0.5


@pytest.mark.parametrize(
    "sampling", [SamplingConfig(alpha=0.7), SamplingConfig(weights={"a": 0.2, "b": 0.5, "c": 0.3})]
)
def test_tasks_are_drawn_as_numpys_choice_draws_them(sampling: SamplingConfig) -> None:
    sized = _sized(1, 4, 9)
    generator = np.random.default_rng([5, 1])
    expected = [
        i
        for _ in range(2)
        for i in generator.choice(3, size=1024, p=task_probabilities(sized, sampling)).tolist()
    ]
    assert list(islice(task_order(sized, sampling, 5, 100, 4), 2048)) == expected


def test_a_task_of_weight_zero_is_never_drawn() -> None:
    order = task_order(
        _sized(1, 4, 9), SamplingConfig(weights={"a": 0.0, "b": 1.0, "c": 0.0}), 0, 100, 4
    )
    assert set(islice(order, 3000)) == {1}


def test_round_robin_draws_every_task_in_its_turn() -> None:
    assert list(
        islice(task_order(_sized(1, 4, 9), SamplingConfig(order="round_robin"), 0, 7, 4), 7)
    ) == [0, 1, 2, 0, 1, 2, 0]


def test_an_epoch_has_every_batch_of_every_task_once_in_another_order_each_time() -> None:
    """1, 4 and 9 rows in batches of 4 are one, one and three batches."""
    order = list(islice(task_order(_sized(1, 4, 9), SamplingConfig(order="epoch"), 0, 7, 4), 400))
    epochs = [order[start : start + 5] for start in range(0, 400, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 2, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20, "all 5! / 3! orders"
    assert order == list(
        islice(task_order(_sized(1, 4, 9), SamplingConfig(order="epoch"), 0, 99, 4), 400)
    )
    assert order != list(
        islice(task_order(_sized(1, 4, 9), SamplingConfig(order="epoch"), 1, 7, 4), 400)
    )


def test_an_epoch_of_joint_batches_has_every_row_once(datas: Datas, tokenizer: Tokenizer) -> None:
    layout = layout_of(tokenizer, True, 32)
    sources = [TaskRows(data, data.train_rows, None) for data in datas]
    whole = sum(-(-len(source.rows) // 7) for source in sources)
    batches = list(
        islice(joint_batches(sources, layout, 7, SamplingConfig(order="epoch"), 0), whole)
    )
    for source in sources:
        batches_of_task = [batch.labels_B for batch in batches if batch.task == source.data.name]
        drawn_labels = np.sort(np.concatenate(batches_of_task))
        labels = (source.data.train.labels[source.rows] - source.data.mean) / source.data.std
        np.testing.assert_allclose(drawn_labels, np.sort(labels).astype(np.float32))


def test_skipping_batches_does_not_change_the_others(datas: Datas) -> None:
    """The batches span the end of an epoch of each task."""
    whole = list(
        islice(joint_batches(sources(datas), APART, 8, SamplingConfig(alpha_end=0.0), 3, 40), 40)
    )
    rest = list(
        islice(
            joint_batches(sources(datas), APART, 8, SamplingConfig(alpha_end=0.0), 3, 40, start=23),
            17,
        )
    )
    assert [batch.task for batch in rest] == [batch.task for batch in whole[23:]]
    assert all(
        torch.equal(a.inputs.ids, b.inputs.ids) for a, b in zip(rest, whole[23:], strict=True)
    )
