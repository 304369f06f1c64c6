"""Inference with an exported student: texts in, labels with probabilities out.

It needs onnxruntime, tokenizers and numpy only.

Axes: N texts, B rows of a batch, C classes (1 for regression).
"""

import hashlib
import math
import numbers
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from mkd.runtime import bag
from mkd.runtime.answers import (
    Head,
    Prediction,
    check_confidence,
    failed,
    head_of,
    if_sure,
    prediction,
    predictions,
)
from mkd.runtime.bag import Bag
from mkd.runtime.encoding import Encoder, encode_beginnings
from mkd.runtime.hub import student_manifest
from mkd.runtime.layout import (
    Arrays,
    Layout,
    Tokens,
    batch_tokens,
    one_row,
    padded,
    truncated,
)
from mkd.runtime.manifest import REDUCED, TABLES_ENDING, TOKENIZER, read_manifest
from mkd.runtime.texts import Text, in_order, problem

BATCH_TOKENS = 1024
"""Maximum number of tokens in a batch, padding included. Of the sizes from 128 to 4096 this one is
seldom far from the fastest."""

MOST_THREADS = 512
"""As in mkd/config, which is not imported here: that would make loading a student slower."""
EXTERNAL_WEIGHTS = "session.model_external_initializers_file_folder_path"
NO_FOLDER = "/nonexistent/weights outside of the graph"

Infer = Callable[[Arrays, str], np.ndarray]
"""Returns the logits [B, C] float32 of a task's head for a batch."""


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
          fastest backend is loaded, or a backend in it, such as `FOLDER/int8`; or, as a string, the
          name `USER/NAME` of such a folder on the Hugging Face hub, which needs `huggingface-hub`.
          A local folder comes first.
        - `threads`: number of CPU threads. 0 takes OMP_NUM_THREADS or, if that is not set, all
          cores that the process may use. The tokenizer's threads are set once per process: by the
          environment variable RAYON_NUM_THREADS or, if that is not set, by the first student
          loaded.

        An int8 student whose weights use all 8 bits is computed with onnxruntime's exact but slower
        products if the processor has no VNNI instructions. Its answers are then the same as on a
        processor that has them.

        Raises ValueError if `threads` or OMP_NUM_THREADS is out of range, and if a file is missing,
        damaged or of an unknown format; the message names it. No code from the folder is executed.
        """
        file, threads = student_manifest(folder), _threads(threads)
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
        manifest, folder = read_manifest(file), file.parent
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
            inputs = {name: array for name, array in batch._asdict().items() if array is not None}
            logits: np.ndarray = model.run(None, inputs)[0]
            # A graph computes the logits of several heads side by side.
            return logits[:, head["start"] : head["start"] + (len(head["labels"]) or 1)]

        encode = Encoder(opened[TOKENIZER], parallel=threads > 1)
        student = Student(heads, Layout(**stated), encode, infer)
        _check_special_tokens(student.layout, opened[TOKENIZER], file)
        _check_answers(student, opened[TOKENIZER].get_vocab_size(), file)
        return student

    def predict(
        self, texts: Iterable[Text], task: str = "", min_confidence: float = 0.0
    ) -> list[Prediction]:
        """Returns a prediction for each text, in the order of the texts.

        - `texts`: a list or another ordered collection, such as a column of a table. Each item is a
          string, or two strings for a pair task.
        - `task`: the name of a task that the student knows; may be left out if it knows one only.
        - `min_confidence`: a text whose answer has a smaller probability gets no answer: `label` is
          None and `answered` is False. For a multilabel task it is the probability that all labels
          are right, if they are independent. A regression has no confidence.

        An invalid item gets a prediction with an `error`; all other items are still answered. Long
        texts are truncated. An empty text is valid: the model sees its special tokens, or one
        padding token if it has none.

        Raises ValueError for an unknown task, for a confidence that is not from 0 to 1, and if
        `texts` is a single string, a whole table, a dict or a set.
        """
        if not task and len(self.heads) == 1:
            (task,) = self.heads
        head, items = self.head(task), in_order(texts)
        check_confidence(min_confidence, head, task)
        if len(items) == 1 and problem(items[0], head.pair) is None:
            # A service asks for one text at a time, and a small student answers it in less time
            # than numpy needs for what many rows need.
            logits = self._one(items[0], head, task)[0].tolist()
            if all(map(math.isfinite, logits)):
                only_answer = prediction(logits, head)
                return [
                    if_sure(only_answer, head, min_confidence) if min_confidence else only_answer
                ]
        logits_NC, errors = self._many(items, head, task)
        answers = [
            answer if error is None else failed(error)
            for answer, error in zip(predictions(logits_NC, head), errors, strict=True)
        ]
        if not min_confidence:
            return answers
        return [if_sure(answer, head, min_confidence) for answer in answers]

    def logits(self, texts: Iterable[Text], task: str) -> tuple[np.ndarray, list[str | None]]:
        """Returns the logits [N, C] float32 of a task's head, and for each text an error or None.

        The temperature is not applied. The logits of a text with an error are NaN. Raises
        ValueError as `predict` does.
        """
        return self._many(in_order(texts), self.head(task), task)

    def head(self, task: str) -> Head:
        """Returns the head of a task. Raises ValueError for an unknown task."""
        if not isinstance(task, str) or task not in self.heads:
            raise ValueError(f"task is {task!r:.80}; allowed: {', '.join(self.heads)}")
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
        logits_NC = np.full((len(texts), len(head.labels) or 1), np.nan, dtype=np.float32)
        good = np.array(
            [place for place, error in enumerate(errors) if error is None], dtype=np.int64
        )
        rows = self._tokens([texts[place] for place in good], head.pair)
        lengths = batch_tokens(rows, self.layout, np.arange(len(good)))
        for places in by_length(lengths, BATCH_TOKENS):
            logits_NC[good[places]] = self.infer(padded(rows, places, self.layout), task)
        for place in good[~np.isfinite(logits_NC[good]).all(1)]:
            errors[place], logits_NC[place] = "the model's numbers for it are not finite", np.nan
        return logits_NC, errors

    def _tokens(self, texts: list[Any], pair: bool) -> Tokens:
        sides = list(zip(*texts, strict=True)) if pair and texts else [texts]
        encoded = truncated(self._encoded(sides), self.layout.max_length)
        return Tokens(encoded[0], encoded[1] if len(encoded) > 1 else None)

    def _encoded(self, sides: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Returns the token ids of each side's texts; of long texts those that the model takes."""
        return encode_beginnings(self.encode, sides, self.layout.max_length)


def _check_special_tokens(layout: Layout, tokenizer: Tokenizer, manifest: Path) -> None:
    """Raises ValueError for a special token that the tokenizer does not have."""
    before, after = layout.single or ((), ())
    special = layout._asdict() | {"pad": (layout.pad,), "single": before + after}
    for name in ("pad", "prefix", "middle", "suffix", "single"):
        for token in special[name]:
            # A tokenizer without a padding token has 0, which need not be one of its own.
            if token and tokenizer.id_to_token(token) is None:
                raise ValueError(
                    f"{manifest}: `layout.{name}` has the token {token}; allowed: the ids of the "
                    f"{tokenizer.get_vocab_size()} tokens of {TOKENIZER}"
                )


def _check_answers(student: Student, tokens: int, manifest: Path) -> None:
    """Raises ValueError if a head fails on the tokenizer's first or last token, or on padding.

    Each file has its own digest, so files of two exports could be mixed.
    """
    for task, head in student.heads.items():
        sides, classes = 1 + head.pair, len(head.labels) or 1
        texts = truncated([[[0, tokens - 1], []]] * sides, student.layout.max_length)
        both = Tokens(texts[0], texts[1] if head.pair else None)
        try:
            shapes = [
                student.infer(batch, task).shape
                for batch in (
                    one_row([[0, tokens - 1]] * sides, student.layout),
                    padded(both, np.arange(2), student.layout),
                )
            ]
        # numpy and onnxruntime have no narrower exception in common.
        except Exception as error:
            shapes, reason = [], " ".join(str(error).split())[:200]
        else:
            reason = f"{' and '.join(map(str, shapes))} logits"
        if shapes != [(1, classes), (2, classes)]:
            raise ValueError(
                f"{manifest}: its files do not belong together, by its head {task!r} ({reason}): "
                "export the student again"
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


def _threads(threads: int) -> int:
    """Returns the number of threads: `threads`, or for 0 OMP_NUM_THREADS, or else the number of
    cores."""
    if not isinstance(threads, numbers.Integral) or isinstance(threads, bool):
        raise ValueError(
            f"threads is {threads!r:.80}; allowed: a whole number, from 0 to {MOST_THREADS}"
        )
    if not 0 <= threads <= MOST_THREADS:
        raise ValueError(f"threads is {threads}; allowed: from 0 to {MOST_THREADS}")
    if threads:
        return int(threads)
    # The variable may be a list with a number for each level of nested parallelism.
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    # int() does not take thousands of digits.
    if stated.isdecimal() and (len(stated) > 9 or int(stated) > MOST_THREADS):
        raise ValueError(f"OMP_NUM_THREADS is {stated[:20]}; allowed: at most {MOST_THREADS}")
    return (int(stated) if stated.isdecimal() else 0) or cores()


def _read(file: Path, digest: str) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise ValueError(f"{file} is no file; export the student again")
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
            tokenizer = Tokenizer.from_str(content.decode())
            # A student is trained without them: its own layout pads and truncates.
            tokenizer.no_padding()
            tokenizer.no_truncation()
            return tokenizer
        return (
            bag.read_bag(content)
            if file.suffix == TABLES_ENDING
            else _session(content, threads, exact)
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
