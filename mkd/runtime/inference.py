"""Inference with an exported student: texts in, labels with probabilities out.

It needs onnxruntime, tokenizers and numpy only.

Axes: N texts, B rows of a batch, C classes (1 for regression).
"""

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from mkd.runtime import bag
from mkd.runtime.bag import Bag
from mkd.runtime.encoding import Encoder, encode_beginnings
from mkd.runtime.hub import student_folder
from mkd.runtime.layout import (
    Arrays,
    Layout,
    Tokens,
    batch_tokens,
    one_row,
    padded,
    truncated,
)
from mkd.runtime.manifest import check_manifest

MANIFEST = "student.json"
"""The file of an exported folder that describes it."""
TOKENIZER = "tokenizer.json"
FORMAT = 2
"""The manifest format that is written for ONNX graphs. From format 2 on, a single text can have
other special tokens and token types than a pair."""
TABLES_FORMAT = 3
"""The manifest format that is written for a bag student in 8 bits."""
READABLE = (1, FORMAT, TABLES_FORMAT)
"""The manifest formats that can be read."""
TABLES_ENDING = ".npz"
"""Ending of the file of a bag student in 8 bits."""
REDUCED = "reduced_range"
"""The manifest's key for int8 students: whether the weights use 7 of their 8 bits."""
MANY_CLASSES = 24
"""Number of classes above which numpy computes one row's softmax faster than Python."""
BATCH_TOKENS = 1024
"""Maximum number of tokens in a batch, padding included. Of the sizes from 128 to 4096 this one is
seldom far from the fastest."""

EXTERNAL_WEIGHTS = "session.model_external_initializers_file_folder_path"
NO_FOLDER = "/nonexistent/weights outside of the graph"

Text = str | tuple[str, str]
"""A text, or the two texts of a pair task."""
Infer = Callable[[Arrays, str], np.ndarray]
"""Returns the logits [B, C] float32 of a task's head for a batch."""


class Head(NamedTuple):
    """A task's head: what its logits mean.

    - `labels`: in the order of the logits; empty for regression, whose score is logit * std + mean.
    - `pair`: whether the task has two texts.
    - `mean`, `std`: scale of a regression's scores.
    - `multilabel`: whether a text has any number of the labels, each with a probability of its own.
    - `thresholds`: of a multilabel task, the probability of each label from which on a text has it.
    """

    labels: tuple[str, ...]
    pair: bool
    mean: float
    std: float
    multilabel: bool = False
    thresholds: tuple[float, ...] = ()


class Prediction(NamedTuple):
    """The prediction for one text.

    - `label`: the most probable label; empty for regression. Of a multilabel task: all labels that
      the text has, joined by commas.
    - `score`: the probability of that label; for regression, the score on the task's own scale. Of
      a multilabel task: the largest probability of a label.
    - `probabilities`: of all labels, in the head's order; empty for regression. Those of a
      multilabel task do not add up to 1.
    - `error`: what is wrong with the text, or None. With an error, the label is empty and the score
      is NaN.
    - `labels`: of a multilabel task, the labels that the text has, in the head's order; there may
      be none. None for other tasks, and with an error.
    """

    label: str
    score: float
    probabilities: list[float]
    error: str | None = None
    labels: list[str] | None = None


class Student:
    """A student's tokenizer and heads, with any function that computes its logits.

    - `heads`: by task.
    - `layout`: how the model takes its tokens.
    - `encode`: computes the token ids of texts.
    - `infer`: computes the logits of a batch, with its own number of threads.

    Example:

    ```python
    student = Student.load("FOLDER/int8", threads=1)
    student.predict(["the film was not bad", "..."], "sentiment")
    student.predict([("a man sings", "someone makes music")], "entailment")
    ```
    """

    def __init__(
        self, heads: dict[str, Head], layout: Layout, encode: Encoder, infer: Infer
    ) -> None:
        self.heads = heads
        self.layout = layout
        self.encode = encode
        self.infer = infer

    @staticmethod
    def load(folder: str | Path, threads: int = 0) -> "Student":
        """Loads an exported student.

        - `folder`: the folder of a backend; the folder that `experiments.export` has made, whose
          fastest backend is loaded; or, as a string, the name `USER/NAME` of such a folder on the
          Hugging Face hub, which needs `huggingface-hub`. A local folder comes first.
        - `threads`: number of CPU threads. 0 takes OMP_NUM_THREADS or, if that is not set, all
          cores that the process may use. The tokenizer's threads are set once per process: by the
          environment variable RAYON_NUM_THREADS or, if that is not set, by the first student
          loaded.

        An int8 student whose weights use all 8 bits is computed with onnxruntime's exact but slower
        products if the processor has no VNNI instructions. Its answers are then the same as on a
        processor that has them.

        Raises ValueError if `threads` is negative, and if a file is missing, damaged or of an
        unknown format; the message names the file. No code from the folder is executed.
        """
        folder, threads = student_folder(folder, MANIFEST), _threads(threads)
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
        manifest = read_manifest(folder)
        contents = {
            name: _read(folder / name, digest) for name, digest in manifest["files"].items()
        }
        heads = {name: head_of(stated) for name, stated in manifest["tasks"].items()}
        stated: dict[str, Any] = {key: tuples(value) for key, value in manifest["layout"].items()}
        # A manifest without this key may describe weights that use all 8 bits.
        exact = saturates() and not manifest.get(REDUCED)
        opened = {
            name: _opened(folder / name, content, threads, exact)
            for name, content in contents.items()
        }

        def infer(batch: Arrays, task: str) -> np.ndarray:
            head = manifest["tasks"][task]
            model = opened[head["graph"]]
            if isinstance(model, Bag):
                return model(batch, task)
            given = {name: array for name, array in batch._asdict().items() if array is not None}
            logits: np.ndarray = model.run(None, given)[0]
            # A graph computes the logits of several heads side by side.
            return logits[:, head["start"] : head["start"] + (len(head["labels"]) or 1)]

        encode = Encoder(opened[TOKENIZER], parallel=threads > 1)
        student = Student(heads, Layout(**stated), encode, infer)
        _check_answers(student, opened[TOKENIZER].get_vocab_size(), Path(folder) / MANIFEST)
        return student

    def predict(self, texts: Iterable[Text], task: str) -> list[Prediction]:
        """Returns a prediction for each text, in the order of the texts.

        - `texts`: a list or another ordered collection, such as a column of a table. Each item is a
          string, or two strings for a pair task.
        - `task`: the name of a task that the student knows.

        An invalid item gets a prediction with an `error`; all other items are still answered. Long
        texts are truncated. An empty text is valid: the model sees its special tokens, or one
        padding token if it has none.

        Raises ValueError for an unknown task, and if `texts` is a single string, a whole table, a
        dict or a set.
        """
        head, given = self.head(task), in_order(texts)
        if len(given) == 1 and problem(given[0], head.pair) is None:
            # A service asks for one text at a time, and a small student answers it in less time
            # than numpy needs for what many rows need.
            logits = self._one(given[0], head, task)[0].tolist()
            if all(map(math.isfinite, logits)):
                return [prediction(logits, head)]
        logits_NC, errors = self._many(given, head, task)
        if head.multilabel:
            answers = labelled(logits_NC, head)
        else:
            answers = regressed(logits_NC, head) if not head.labels else classified(logits_NC, head)
        return [
            answer if error is None else Prediction("", float("nan"), [], error)
            for answer, error in zip(answers, errors, strict=True)
        ]

    def logits(self, texts: Iterable[Text], task: str) -> tuple[np.ndarray, list[str | None]]:
        """Returns the logits [N, C] float32 of a task's head, and for each text an error or None.

        The logits of a text with an error are NaN. Raises ValueError as `predict` does.
        """
        return self._many(in_order(texts), self.head(task), task)

    def head(self, task: str) -> Head:
        """Returns the head of a task. Raises ValueError for an unknown task."""
        if task not in self.heads:
            raise ValueError(f"task is {task!r}; allowed: {', '.join(self.heads)}")
        return self.heads[task]

    def _one(self, text: Any, head: Head, task: str) -> np.ndarray:
        """Returns the logits [1, C] of a valid text."""
        texts = text if head.pair else (text,)
        if max(map(len, texts)) <= self.layout.max_length:  # most texts, without a second look
            sides = self.encode(texts)
        else:
            sides = [side[0] for side in self._encoded([(each,) for each in texts])]
        return self.infer(one_row(sides, self.layout), task)

    def _many(self, texts: list[Any], head: Head, task: str) -> tuple[np.ndarray, list[str | None]]:
        errors = [problem(text, head.pair) for text in texts]
        found = np.full((len(texts), len(head.labels) or 1), np.nan, dtype=np.float32)
        good = np.array(
            [place for place, error in enumerate(errors) if error is None], dtype=np.int64
        )
        rows = self._tokens([texts[place] for place in good], head.pair)
        lengths = batch_tokens(rows, self.layout, np.arange(len(good)))
        for places in by_length(lengths, BATCH_TOKENS):
            found[good[places]] = self.infer(padded(rows, places, self.layout), task)
        for place in good[~np.isfinite(found[good]).all(1)]:
            errors[place], found[place] = "the model's numbers for it are not finite", np.nan
        return found, errors

    def _tokens(self, texts: list[Any], pair: bool) -> Tokens:
        sides = list(zip(*texts, strict=True)) if pair and texts else [texts]
        encoded = truncated(self._encoded(sides), self.layout.max_length)
        return Tokens(encoded[0], encoded[1] if len(encoded) > 1 else None)

    def _encoded(self, sides: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Returns the token ids of each side's texts; of long texts those that the model takes."""
        return encode_beginnings(self.encode, sides, self.layout.max_length)


def _check_answers(student: Student, tokens: int, manifest: Path) -> None:
    """Raises ValueError if a head cannot answer the tokenizer's first and last token.

    Each file is what it was when it was exported, but they may not belong together.
    """
    for task, head in student.heads.items():
        batch = one_row([[0, tokens - 1]] * (1 + head.pair), student.layout)
        try:
            shape = student.infer(batch, task).shape
        # numpy and onnxruntime have no narrower exception in common.
        except Exception as error:
            shape, reason = (), " ".join(str(error).split())[:200]
        else:
            reason = f"{shape} logits"
        if shape != (1, len(head.labels) or 1):
            raise ValueError(
                f"{manifest}: its files do not belong together, by its head {task!r} ({reason}): "
                "export the student again"
            )


def head_of(stated: Mapping[str, Any]) -> Head:
    """Returns the head that a manifest or a model's config states."""
    return Head(
        tuple(stated["labels"]),
        stated["pair"],
        stated["mean"],
        stated["std"],
        stated.get("multilabel", False),
        tuple(stated.get("thresholds", [0.5] * len(stated["labels"]))),
    )


def tuples(value: Any) -> Any:
    """Returns a JSON value with its lists as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def by_length(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Yields the rows of each batch: rows of similar length, the longest first.

    - `lengths`: the number of tokens that each row has in a batch.
    - `tokens`: maximum number of tokens in a batch. A longer row is a batch by itself.
    """
    waiting = np.argsort(lengths, kind="stable")
    while len(waiting):
        count = max(1, tokens // (int(lengths[waiting[-1]]) + 1))
        yield waiting[-count:]
        waiting = waiting[:-count]


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def saturates() -> bool:
    """Returns whether sums of 8-bit products may saturate on this processor.

    An x86 processor without VNNI adds two products in 16 bits, which is too few if weights use all
    8 bits. An x86 processor whose instructions are unknown counts as one of these.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not any("vnni" in flag or flag == "amx_int8" for flag in flags)


def _threads(asked: int) -> int:
    """Returns the number of threads: `asked`, or for 0 OMP_NUM_THREADS, or else the number of
    cores."""
    if asked < 0:
        raise ValueError(f"threads is {asked}; allowed: 0 or more")
    # The variable may be a list with a number for each level of nested parallelism.
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return asked or (int(stated) if stated.isdecimal() else 0) or cores()


def in_order(texts: Iterable[Text]) -> list[Any]:
    """Returns the texts as a list.

    Raises ValueError for a collection without an order, and for one whose items are not its texts:
    the items of a string are its letters, those of a dict its keys, and those of a table its column
    names.
    """
    table = any(hasattr(type(texts), name) for name in ("columns", "column_names"))
    if (
        table
        or isinstance(texts, str | bytes | bytearray | Mapping | set | frozenset)
        or not hasattr(texts, "__iter__")
    ):
        raise ValueError(
            f"texts is {kind_of(texts)}; allowed: a list, of one text or more, or a column of a "
            "table"
        )
    # Iterated, never indexed: texts[0] of a pandas Series is the item with the index label 0.
    items = texts.tolist() if isinstance(texts, np.ndarray) else list(texts)
    if not isinstance(items, list):
        raise ValueError(
            "texts is an array without a dimension; allowed: a list, of one text or more"
        )
    return items


def problem(text: object, pair: bool) -> str | None:
    """Returns what is wrong with an item of a batch, or None."""
    sides = text if pair else (text,)
    if not isinstance(sides, tuple | list):
        return f"{kind_of(text)}; allowed: two texts"
    if len(sides) != 2 and pair:
        return f"{len(sides)} texts; allowed: two"
    for place, side in enumerate(sides):
        which = ("the first text is ", "the second text is ")[place] if pair else ""
        if not isinstance(side, str):
            return f"{which}{kind_of(side)}; allowed: a string"
        # A lone surrogate is a valid Python string, but the tokenizer cannot encode it.
        if not side.isascii():
            try:
                side.encode()
            except UnicodeEncodeError:
                return f"{which}not valid Unicode; allowed: text that UTF-8 can hold"
    return None


def kind_of(value: object) -> str:
    """Returns words for a value that is not a text: `missing`, or its type."""
    return "missing" if value is None else f"of type {type(value).__name__}"


def classified(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the most probable label of each row. The softmax is in float64."""
    shifted = logits_NC.astype(float) - logits_NC.max(1, keepdims=True)
    chances_NC = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    best = chances_NC.argmax(1).tolist()
    return [
        Prediction(head.labels[place], row[place], row)
        for place, row in zip(best, chances_NC.tolist(), strict=True)
    ]


def labelled(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the labels of each row of a multilabel task. The sigmoid is in float64."""
    exact_NC = logits_NC.astype(float)
    # exp(-|x|) does not overflow.
    small_NC = np.exp(-np.abs(exact_NC))
    chances_NC = np.where(exact_NC >= 0, 1.0, small_NC) / (1 + small_NC)
    return [_with_labels(row, head) for row in chances_NC.tolist()]


def _with_labels(chances_C: list[float], head: Head) -> Prediction:
    found = [
        label
        for label, chance, threshold in zip(head.labels, chances_C, head.thresholds, strict=True)
        if chance >= threshold
    ]
    return Prediction(",".join(found), max(chances_C), chances_C, None, found)


def prediction(logits_C: list[float], head: Head) -> Prediction:
    """Returns the prediction for one row, as `classified` or `regressed` do for many."""
    if head.multilabel:
        return labelled(np.array([logits_C]), head)[0]
    if not head.labels:
        return Prediction("", logits_C[0] * head.std + head.mean, [])
    if len(logits_C) > MANY_CLASSES:
        return classified(np.array([logits_C], dtype=np.float32), head)[0]
    largest = max(logits_C)
    weights = [math.exp(logit - largest) for logit in logits_C]
    total = sum(weights)
    chances = [weight / total for weight in weights]
    best = logits_C.index(largest)
    return Prediction(head.labels[best], chances[best], chances)


def regressed(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the score of each row on the task's own scale."""
    return [
        Prediction("", score, [])
        for score in (logits_NC[:, 0].astype(float) * head.std + head.mean).tolist()
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of an exported folder.

    Raises ValueError if there is none, if it is damaged, or if its format is unknown.
    """
    file = folder / MANIFEST
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known = found["format"]
    except OSError:
        raise ValueError(f"{folder} is no exported student: there is no {MANIFEST} in it") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{file} is damaged: export the student again") from None
    if known not in READABLE:
        allowed = ", ".join(map(str, READABLE))
        raise ValueError(
            f"{file} is of format {known!r}; allowed: {allowed}, which this version of mkd reads"
        )
    stated = found.pop("digest", None)
    # A name with a directory in it could point out of the folder.
    files = found.get("files")
    outside = not isinstance(files, dict) or any(Path(name).name != name for name in files)
    if outside or stated != digest_of(found):
        raise ValueError(f"{file} is damaged: export the student again")
    check_manifest(found, TOKENIZER, TABLES_ENDING, str(file))
    return found


def digest_of(manifest: dict[str, Any]) -> str:
    """Returns the SHA-256 of the manifest without its own digest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read(file: Path, digest: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; export the student again") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{file} is not as it was exported: export the student again")
    return content


def _opened(file: Path, content: bytes, threads: int, exact: bool) -> Any:
    """Returns the tokenizer or the onnxruntime session that a file holds.

    Raises ValueError if the installed library cannot read it, for example because it is older than
    the library that wrote the file.
    """
    try:
        if file.name == TOKENIZER:
            return Tokenizer.from_str(content.decode())
        return (
            bag.read(content) if file.suffix == TABLES_ENDING else _session(content, threads, exact)
        )
    # None of these libraries has a narrower exception.
    except Exception as error:
        library = "tokenizers" if file.name == TOKENIZER else "onnxruntime"
        library = "numpy" if file.suffix == TABLES_ENDING else library
        raise ValueError(
            f"{file} cannot be read by the {library} that is installed: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _session(graph: bytes, threads: int, exact: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # errors are raised, and told in one line
    # Weights outside of the graph are not covered by its digest, so that none are read.
    options.add_session_config_entry(EXTERNAL_WEIGHTS, NO_FOLDER)
    # By default waiting threads spin. They would take cores from torch, other models and processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
