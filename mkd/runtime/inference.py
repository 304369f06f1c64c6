"""A student at work: texts in, labels with their probabilities out. Needs onnxruntime, tokenizers and numpy alone.

Axes: N texts, B rows of a batch, C classes (1 for regression).
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from mkd.runtime.layout import Arrays, Layout, Texts, batch_tokens, encode_rows, padded

MANIFEST = "student.json"
TOKENIZER = "tokenizer.json"
FORMAT = 2
READABLE = (1, FORMAT)
"""Formats that are read: 2 may tell a single text's special tokens, and token types, apart from a pair's."""
REDUCED = "reduced_range"
"""In the manifest of an int8 student: whether its weights take 7 of their 8 bits."""
BATCH_TOKENS = 1024
"""A batch has at most so many tokens, padding included: of the sizes from 128 to 4096 one that is seldom far from the fastest."""

Text = str | tuple[str, str]
"""A text, or the two of a task of pairs."""
Infer = Callable[[Arrays, str], np.ndarray]
"""Logits [B, C] float32 of a task's head for a batch."""


class Head(NamedTuple):
    """What a task's logits mean. labels: in their order; empty for regression, whose score is logit * std + mean."""

    labels: tuple[str, ...]
    pair: bool
    mean: float
    std: float


class Prediction(NamedTuple):
    """The answer to one text: its label and that label's probability, or, of regression, no label and the score.

    probabilities: of all labels in their order. error: what is wrong with the text; it has no answer then.
    """

    label: str
    score: float
    probabilities: list[float]
    error: str | None = None


class Student:
    """A model with its tokenizer and heads, whatever computes its logits.

    threads: of the tokenizer, which takes all cores if there are several; those of `infer` are its own.
    """

    def __init__(self, heads: dict[str, Head], layout: Layout, tokenizer: Tokenizer, infer: Infer, threads: int) -> None:
        self.heads = heads
        self.layout = layout
        self.tokenizer = tokenizer
        self.infer = infer
        self.threads = threads

    @staticmethod
    def load(folder: str | Path, threads: int = 0) -> "Student":
        """The student that was exported to the folder, on so many CPU threads; 0: OMP_NUM_THREADS, or as many as it may use.

        Weights that take all 8 bits are multiplied by onnxruntime's slower exact products where the processor has no VNNI: the
        answers are then as where it has. The tokenizer's threads are set with the first student that a process loads. Raises
        ValueError that names the folder or file which is missing, damaged or of another kind. Nothing in the folder is run.
        """
        threads = _threads(threads)
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
        manifest = read_manifest(Path(folder))
        contents = {name: _read(Path(folder) / name, digest) for name, digest in manifest["files"].items()}
        heads = {name: Head(tuple(h["labels"]), h["pair"], h["mean"], h["std"]) for name, h in manifest["tasks"].items()}
        stated: dict[str, Any] = {key: _tuples(value) for key, value in manifest["layout"].items()}
        # A folder that does not say of how many bits its weights are may be of all 8.
        exact = saturates() and not manifest.get(REDUCED)
        opened = {name: _opened(Path(folder) / name, content, threads, exact) for name, content in contents.items()}

        def infer(batch: Arrays, task: str) -> np.ndarray:
            head = manifest["tasks"][task]
            given = {name: array for name, array in batch._asdict().items() if array is not None}
            logits: np.ndarray = opened[head["graph"]].run(None, given)[0]
            return logits[:, head["start"] : head["start"] + (len(head["labels"]) or 1)]

        return Student(heads, Layout(**stated), opened[TOKENIZER], infer, threads)

    def predict(self, texts: Iterable[Text], task: str) -> list[Prediction]:
        """An answer to each text, in their order; a text that cannot be answered has an `error`, and all others an answer.

        texts: a list, or anything else that gives its items in an order, such as a column of a table, whatever its index.
        Each is a string, or two for a task of pairs. An empty text is answered as one of padding; of a too long one the beginning
        is read.
        Raises ValueError for a task that the student does not know, and for texts that are one string, a whole table, a dict or a
        set.
        """
        logits_NC, errors = self.logits(texts, task)
        head = self.head(task)
        answers = regressed(logits_NC, head) if not head.labels else classified(logits_NC, head)
        return [
            answer if error is None else Prediction("", float("nan"), [], error)
            for answer, error in zip(answers, errors, strict=True)
        ]

    def logits(self, texts: Iterable[Text], task: str) -> tuple[np.ndarray, list[str | None]]:
        """Logits [N, C] float32 of a task's head, and of each text what is wrong with it: then they are NaN.

        Raises ValueError as `predict` does.
        """
        head = self.head(task)
        given = in_order(texts)
        errors = [problem(text, head.pair) for text in given]
        found = np.full((len(given), len(head.labels) or 1), np.nan, dtype=np.float32)
        good = np.array([place for place, error in enumerate(errors) if error is None], dtype=np.int64)
        rows = self._tokens([given[place] for place in good], head.pair)
        for places in by_length(batch_tokens(rows, self.layout, np.arange(len(good))), BATCH_TOKENS):
            found[good[places]] = self.infer(padded(rows, places, self.layout), task)
        for place in good[~np.isfinite(found[good]).all(1)]:
            errors[place], found[place] = "the model's numbers for it are not finite", np.nan
        return found, errors

    def head(self, task: str) -> Head:
        """The head of a task. Raises ValueError for one that the student does not know."""
        if task not in self.heads:
            raise ValueError(f"task is {task!r}; allowed: {', '.join(self.heads)}")
        return self.heads[task]

    def _tokens(self, texts: list[Any], pair: bool) -> "Tokens":
        sides = list(zip(*texts, strict=True)) if pair and texts else [texts]
        encoded = encode_rows(self.tokenizer, sides, self.layout.max_length, self.threads > 1)
        return Tokens(encoded[0], encoded[1] if len(encoded) > 1 else None)


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


class Tokens(NamedTuple):
    """Rows as tokens, without special ones."""

    a: Texts
    b: Texts | None


def by_length(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Which rows each batch has: like lengths together, the longest first, of so many tokens at most."""
    waiting = np.argsort(lengths, kind="stable")
    while len(waiting):
        count = max(1, tokens // (int(lengths[waiting[-1]]) + 1))
        yield waiting[-count:]
        waiting = waiting[:-count]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def saturates() -> bool:
    """Whether two products of 8 bits may be more than this processor holds: an x86 one without VNNI adds them in 16 bits."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not any("vnni" in flag or flag == "amx_int8" for flag in flags)


def _threads(asked: int) -> int:
    """So many, or, for 0, those of OMP_NUM_THREADS (the first where it is a list), or all cores."""
    if asked < 0:
        raise ValueError(f"threads is {asked}; allowed: 0 or more")
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return asked or (int(stated) if stated.isdecimal() else 0) or cores()


def in_order(texts: Iterable[Text]) -> list[Any]:
    """The texts as a list. Items are never looked up: texts[0] of a pandas Series is the one that its index calls 0.

    Raises ValueError for what has no order, and for what gives something else than its texts when it is gone through: a string
    its letters, a dict its keys, a table its columns' names.
    """
    table = any(hasattr(type(texts), name) for name in ("columns", "column_names"))
    if table or isinstance(texts, str | bytes | bytearray | Mapping | set | frozenset) or not hasattr(texts, "__iter__"):
        raise ValueError(f"texts is {kind_of(texts)}; allowed: a list, of one text or more, or a column of a table")
    items = texts.tolist() if isinstance(texts, np.ndarray) else list(texts)
    if not isinstance(items, list):
        raise ValueError("texts is an array without a dimension; allowed: a list, of one text or more")
    return items


def problem(text: object, pair: bool) -> str | None:
    """What is wrong with an item of a batch."""
    sides = text if pair else (text,)
    if not isinstance(sides, tuple | list):
        return f"{kind_of(text)}; allowed: two texts"
    if len(sides) != 2 and pair:
        return f"{len(sides)} texts; allowed: two"
    for place, side in enumerate(sides):
        which = ("the first text is ", "the second text is ")[place] if pair else ""
        if not isinstance(side, str):
            return f"{which}{kind_of(side)}; allowed: a string"
        if not side.isascii():
            try:
                side.encode()
            except UnicodeEncodeError:
                return f"{which}not valid Unicode; allowed: text that UTF-8 can hold"
    return None


def kind_of(value: object) -> str:
    """What a value is that is no text, in words."""
    return "missing" if value is None else f"of type {type(value).__name__}"


def classified(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """The most probable label of each row; softmax in float64."""
    shifted = logits_NC.astype(float) - logits_NC.max(1, keepdims=True)
    chances_NC = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    best = chances_NC.argmax(1).tolist()
    return [Prediction(head.labels[place], row[place], row) for place, row in zip(best, chances_NC.tolist(), strict=True)]


def regressed(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """The score of each row on the task's own scale."""
    return [Prediction("", score, []) for score in (logits_NC[:, 0].astype(float) * head.std + head.mean).tolist()]


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an exported folder says of itself. Raises ValueError where it is no such folder."""
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
        raise ValueError(f"{file} is of format {known!r}; allowed: {allowed}, which this version of mkd reads")
    stated = found.pop("digest", None)
    if stated != digest_of(found) or any(Path(name).name != name for name in found["files"]):
        raise ValueError(f"{file} is damaged: export the student again")
    return found


def digest_of(manifest: dict[str, Any]) -> str:
    """Of all that a manifest says but this."""
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
    """The tokenizer or graph. Raises ValueError where the library that reads it cannot, as one older than its writer may."""
    try:
        return Tokenizer.from_str(content.decode()) if file.name == TOKENIZER else _session(content, threads, exact)
    except Exception as error:  # neither library has a narrower one
        library = "tokenizers" if file.name == TOKENIZER else "onnxruntime"
        raise ValueError(f"{file} cannot be read by the {library} that is installed: {error}") from error


def _session(graph: bytes, threads: int, exact: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    # Threads that wait would spin, on cores that torch's, another model's or another process's threads have a use for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
