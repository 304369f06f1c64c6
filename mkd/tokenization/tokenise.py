"""Tokenizes rows of text into token stores on disk."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.config import DataConfig, Stores
from mkd.result import Report, no_report, phase_report
from mkd.runtime.encoding import encode_all
from mkd.runtime.layout import Texts, truncated
from mkd.selection.split import selection_split
from mkd.selection.words import LABELS_FILE, SETS_FILE, read_sets, set_bytes, sets_key
from mkd.storage.store import append, cached_folder, key_of, read_array, write_arrays
from mkd.storage.versions import version_key
from mkd.tasks.label_sets import packed_sets, row_labels
from mkd.tasks.task import MASK, Kind, Row, Split, Task
from mkd.tokenization.tokens import ModelData, TaskData, TokenStore

CHUNK_ROWS = 10_000
CHUNK_CHARACTERS = 1 << 21
"""A chunk of rows ends at CHUNK_ROWS rows or at this many characters. A tokenizer needs some
hundred bytes of memory per token until its ids are copied."""
CHUNKS_AT_ONCE = 2
"""Number of chunks tokenized at the same time. Each uses all cores; the second keeps them busy
while the ids of the first are copied."""


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a hash of everything that determines the token ids of a text."""
    return hashlib.sha256(backend_tokenizer(tokenizer).to_str().encode()).hexdigest()


def backend_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Returns the tokenizer's backend, and switches off its padding and truncation.

    Some checkpoints save these settings. The change is made in the tokenizer itself.
    """
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return backend


def token_store(
    root: Path,
    split: Split,
    kind: Kind,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    report: Report = no_report,
) -> TokenStore:
    """Returns the split's rows as tokens, truncated as in `truncated`; cached on disk."""
    key_values = {
        "rows": split.fingerprint,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "max_length": max_length,
        "pair": kind.pair,
    }
    key_values |= sets_key(kind) | version_key("tokens")
    if split.masked:
        key_values["mask"] = mask = mask_text(tokenizer)
        split = split._replace(read=partial(_with_mask, split.read, mask))
    folder = cached_folder(
        root,
        "tokens",
        key_values,
        lambda aside: _write(aside, split, kind, tokenizer, max_length, report),
    )
    return _read(folder, key_of(key_values), kind.pair, set_bytes(kind))


def mask_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the text that the tokenizer reads as its mask token, or else as its unknown token.

    Raises ValueError if it has neither, or if text cannot contain them.
    """
    for token in (tokenizer.mask_token, tokenizer.unk_token):
        if token is not None and encode_all(backend_tokenizer(tokenizer), [token]) == [
            [tokenizer.convert_tokens_to_ids(token)]
        ]:
            return str(token)
    name = tokenizer.name_or_path
    raise ValueError(
        f"the tokenizer {name!r} has neither a mask token nor an unknown one; allowed then: "
        "data.augment.mask=0"
    )


def _with_mask(rows: Callable[[], Iterator[Row]], mask: str) -> Iterator[Row]:
    for row in rows():
        text_b = None if row.text_b is None else row.text_b.replace(MASK, mask)
        yield row._replace(text_a=row.text_a.replace(MASK, mask), text_b=text_b)


def join_stores(root: Path, stores: list[TokenStore]) -> TokenStore:
    """Returns one store with the rows of all stores in order; a single store is returned itself.

    Tokens are copied, not computed again.
    """
    if len(stores) == 1:
        return stores[0]
    key_values = {"joined": [store.fingerprint for store in stores]} | version_key("tokens")
    folder = cached_folder(root, "tokens", key_values, lambda aside: _write_joined(aside, stores))
    wide = 0 if stores[0].sets is None else stores[0].sets.shape[1]
    joined = _read(folder, key_of(key_values), stores[0].b is not None, wide)
    return joined._replace(parts=tuple(stores))


def _read(folder: Path, key: str, pair: bool, bytes_a_set: int) -> TokenStore:
    a = Texts(read_array(folder / "a.int32", "<i4"), read_array(folder / "a_offsets.int64", "<i8"))
    b = (
        Texts(read_array(folder / "b.int32", "<i4"), read_array(folder / "b_offsets.int64", "<i8"))
        if pair
        else None
    )
    labels = read_array(folder / LABELS_FILE, "<f8")
    return TokenStore(a, b, labels, key, sets=read_sets(folder, bytes_a_set))


def _write_joined(folder: Path, stores: list[TokenStore]) -> None:
    sides = {
        "a": [store.a for store in stores],
        "b": [store.b for store in stores if store.b is not None],
    }
    for side, texts in sides.items():
        if texts:
            write_arrays(folder / f"{side}.int32", (text.ids for text in texts))
            ends = np.cumsum([0, *(text.offsets[-1] for text in texts)], dtype="<i8")
            offsets = (
                text.offsets[start : start + CHUNK_ROWS] + end
                for text, end in zip(texts, ends[:-1], strict=True)
                for start in range(1, len(text.offsets), CHUNK_ROWS)
            )
            write_arrays(folder / f"{side}_offsets.int64", chain([ends[:1]], offsets))
    write_arrays(folder / LABELS_FILE, (store.labels for store in stores))
    if stores[0].sets is not None:
        write_arrays(folder / SETS_FILE, (store.sets for store in stores if store.sets is not None))


def tokenise_task(
    root: Path,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    config: DataConfig,
    seed: int,
    report: Report = no_report,
) -> TaskData:
    """Returns the token stores of all splits of a task, with its rows for training and selection.

    For regression it also has the mean and standard deviation of the labels of the training rows.
    """
    splits = (task.train, *task.added)
    train = join_stores(
        root,
        [
            token_store(root, split, task.kind, tokenizer, config.max_length, report)
            for split in splits
        ],
    )
    dev = {
        name: token_store(root, split, task.kind, tokenizer, config.max_length, report)
        for name, split in task.dev.items()
    }
    rows = selection_split(root, task, config, seed)
    mean, std = 0.0, 1.0
    if not task.kind.labels:
        labels = train.labels[rows.train_rows]
        least, most = float(np.nanmin(labels)), float(np.nanmax(labels))
        # The standard deviation of equal labels would be a rounding error, and no divisor.
        mean, std = (
            (least, 1.0) if least == most else (float(np.nanmean(labels)), float(np.nanstd(labels)))
        )
    return TaskData(
        task.name,
        task.kind,
        train,
        dev,
        rows.train_rows,
        rows.selection_rows,
        mean,
        std,
        rows.statistics,
    )


class Chunk(NamedTuple):
    """Consecutive rows as tokens. `sides` are the first texts and, for pairs, the second texts.

    `labels` and `sets` are as in TokenStore.
    """

    sides: tuple[Texts, ...]
    labels: np.ndarray
    sets: np.ndarray | None


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += len(row.text_a) + len(row.text_b or "")
        if len(chunk) >= CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _tokenised(backend: Tokenizer, kind: Kind, max_length: int, rows: list[Row]) -> Chunk:
    texts = [[row.text_a for row in rows]]
    if kind.pair:
        texts.append([str(row.text_b) for row in rows])
    sides = [encode_all(backend, side) for side in texts]
    sets = packed_sets(rows, len(kind.labels)) if kind.multilabel else None
    return Chunk(tuple(truncated(sides, max_length)), row_labels(rows), sets)


def _in_order(
    work: Callable[[list[Row]], Chunk], rows: Iterable[Row]
) -> Generator[Chunk, None, None]:
    """Yields the result of `work` for each chunk of rows, in order; later rows are read meanwhile.

    It uses threads: the tokenizer releases Python's global lock, so that only reading rows and
    copying ids take turns.
    """
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(CHUNKS_AT_ONCE) as pool:
        try:
            for chunk in _chunks(rows):
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > CHUNKS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                # If the consumer stops early, chunks that no thread has begun are dropped.
                future.cancel()


def _write(
    folder: Path,
    split: Split,
    kind: Kind,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    report: Report,
) -> None:
    """Streams the rows through the tokenizer into raw files; only a few chunks are in memory."""
    sides = ("a", "b") if kind.pair else ("a",)
    files_of_sides = [
        f"{side}{part}" for side in sides for part in (".int32", "_offsets.int64")
    ] + [LABELS_FILE, *([SETS_FILE] if kind.multilabel else [])]
    ends = dict.fromkeys(sides, 0)
    count = 0
    work = partial(_tokenised, backend_tokenizer(tokenizer), kind, max_length)
    with ExitStack() as opened:
        files: dict[str, Any] = {
            name: opened.enter_context((folder / name).open("wb")) for name in files_of_sides
        }
        for side in sides:
            append(files[f"{side}_offsets.int64"], np.zeros(1, "<i8"))
        for chunk in opened.enter_context(closing(_in_order(work, split.read()))):
            for side, texts in zip(sides, chunk.sides, strict=True):
                append(files[f"{side}.int32"], texts.ids)
                append(files[f"{side}_offsets.int64"], texts.offsets[1:] + ends[side])
                ends[side] += int(texts.offsets[-1])
            append(files[LABELS_FILE], chunk.labels)
            if chunk.sets is not None:
                append(files[SETS_FILE], chunk.sets)
            count += len(chunk.labels)
            report(count, {names.ROWS_TOKENISED: float(count)})
    if count == 0:
        raise ValueError(f"{split.source}: no rows; at least one is needed")


def tokenise_tasks(
    stores: Stores,
    tasks: list[Task],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    role: str,
    report: Report,
) -> ModelData:
    """Returns the tasks as one model's tokenizer reads them.

    - `role`: the model's role, for progress reports.
    """
    progress = phase_report(report, "", f"{role} tokens")
    datas = []
    for index, task in enumerate(tasks):
        before = {names.SHARE: index / len(tasks)}
        progress(index, before)

        def rows(count: int, counted: dict[str, float]) -> None:
            progress(index, before | counted)  # noqa: B023 -- called within this turn only

        datas.append(tokenise_task(stores.root, task, tokenizer, stores.data, stores.seed, rows))
        progress(index + 1, {names.SHARE: (index + 1) / len(tasks)})
    return ModelData(tokenizer, datas, device)
