"""The worker process of tests/bench/rivals.py: fits one rival, or loads one student, and times it.

It reads requests from its standard input, one per line, and answers each with a line. Both are
JSON:

- `{"fit": NAME, "rows": FILE, "folder": FOLDER, "seed": 0, "static": FOLDER, "choice": null}`: fits
  the rival, saves it with its dev logits in the folder, and answers `{"choice": ..., "seconds":
  ...}`. A saved rival is loaded. If `choice` is given, no settings are chosen.
- `{"time": "answer"}`, or `"tokenizer"`: answers `{"seconds": [...], "wall": ..., "thread": ...}`,
  the time of each row to time, one row per call, after a warm-up on training rows.

It runs in the rivals' environment, where mkd's requirements are not installed, and imports only
modules of mkd that do not need them. Rivals' packages are imported by the functions that use them.

Axes: R rows, C classes, D directions of an embedding.
"""

import functools
import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from mkd.tasks.metrics import score
from mkd.tasks.task import Kind

Text = Any
"""A string, or two in a list for a pair."""
VERSION = 2
"""Raised if a rival would be fitted differently: results of earlier versions are not used."""
WARM_SECONDS = 5.0
"""Maximum duration of the warm-up of a block."""
PAIR_BATCH = 4096
"""Number of pairs whose features are computed together; it limits the memory."""


class Part(NamedTuple):
    texts: list[Text]
    labels_R: np.ndarray


class Rows(NamedTuple):
    """The rows of a task.

    `learn` and `selection` are the project's split of the training rows. `rest` overlaps with
    selection and is used after the settings are chosen.
    """

    kind: Kind
    learn: Part
    selection: Part
    rest: Part
    dev: Part
    to_time: list[Text]
    to_warm: list[Text]

    @property
    def all_train(self) -> Part:
        splits = (self.learn, self.selection, self.rest)
        texts = [text for split in splits for text in split.texts]
        return Part(texts, np.concatenate([split.labels_R for split in splits]))


class Fitted(Protocol):
    """A fitted rival: it answers one text, and computes the logits [R, C] of many texts."""

    def answer(self, text: Text) -> object: ...

    def logits(self, texts: list[Text]) -> np.ndarray: ...


class Job(NamedTuple):
    """What to fit a rival on.

    - `folder`: a folder in which it may save files
    - `static`: the folder of model2vec's static model
    - `choice`: settings that another seed has chosen, or None to choose them
    """

    rows: Rows
    seed: int
    folder: Path
    static: Path
    choice: dict[str, Any] | None


class Made(NamedTuple):
    fitted: Fitted
    choice: dict[str, Any]
    """The settings that were chosen on the selection split."""


def read_rows(file: Path) -> Rows:
    content = json.loads(file.read_text())
    kind = Kind(**{key: _tuple(value) for key, value in content["kind"].items()})
    splits = {
        name: Part(part["texts"], np.asarray(part["labels"], dtype=np.float64))
        for name, part in content["parts"].items()
    }
    return Rows(kind, **splits, to_time=content["to_time"], to_warm=content["to_warm"])


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def selection_score(rows: Rows, logits_RC: np.ndarray) -> float:
    """Returns the mean of the task's metrics on the selection split, in points."""
    return float(np.mean(list(score(rows.kind, logits_RC, rows.selection.labels_R).values())))


def climbed(start: float, factor: float, scored: Callable[[float], float]) -> float:
    """Returns a value with a better score than its neighbours, which differ by `factor`. A grid
    would have ends, and the best value could lie beyond them."""
    score_of = functools.cache(scored)
    best = start
    while True:
        better = max((best, best * factor, best / factor), key=score_of)
        if better == best:
            return best
        best = better


# Linear models


class Family(NamedTuple):
    """Linear models of one kind: how to build one, and the penalty to start the choice with.

    The penalty is C for classification, where smaller is stronger, and alpha for ridge regression.
    """

    build: Callable[[float], Any]
    start: float


def lr(start: float) -> Family:
    return Family(lambda c: LogisticRegression(C=c, max_iter=300), start)


SVM = Family(lambda c: LinearSVC(C=c, random_state=0), 0.2)
RIDGE = Family(lambda alpha: Ridge(alpha=alpha), 1.0)
FACTOR = 5
"""Ratio of two neighbouring penalties."""


def all_logits(model: Any, features: Any, num_logits: int, regression: bool) -> np.ndarray:
    """Returns logits [R, C] of a scikit-learn model, also for classes that it never saw."""
    if regression:
        scores_R1: np.ndarray = model.predict(features)[:, None]
        return scores_R1
    decisions = model.decision_function(features)
    if decisions.ndim == 1:
        decisions = np.stack([-decisions, decisions], 1)
    logits_RC = np.full((len(decisions), num_logits), decisions.min() - 1)
    logits_RC[:, model.classes_.astype(np.int64)] = decisions
    return logits_RC


@dataclass
class Linear:
    """A linear model on the features that `features` computes from a list of texts."""

    features: Callable[[list[Text]], Any]
    model: Any
    kind: Kind

    def answer(self, text: Text) -> object:
        return self.model.predict(self.features([text]))[0]

    def logits(self, texts: list[Text]) -> np.ndarray:
        features = self.features(texts)
        return all_logits(self.model, features, self.kind.num_logits, not self.kind.labels)


def linear(rows: Rows, features: Callable[[list[Text]], Any], family: Family) -> Made:
    """Chooses the penalty on the selection split, then fits on all training rows with it."""
    build, start = family if rows.kind.labels else RIDGE
    train = rows.all_train
    whole = features(train.texts)
    learnt, split = len(rows.learn.texts), len(rows.learn.texts) + len(rows.selection.texts)

    def scored(penalty: float) -> float:
        model = build(penalty).fit(whole[:learnt], rows.learn.labels_R)
        held_out = whole[learnt:split]
        return selection_score(
            rows, all_logits(model, held_out, rows.kind.num_logits, not rows.kind.labels)
        )

    penalty = climbed(start, FACTOR, scored)
    model = build(penalty).fit(whole, train.labels_R)
    return Made(Linear(features, model, rows.kind), {"penalty": penalty})


# TF-IDF


def sides_of(texts: list[Text], pair: bool) -> list[str]:
    """Returns all texts; of each pair the first, then the second."""
    return [side for text in texts for side in text] if pair else texts


def tfidf_features(vectorizer: Any, pair: bool, texts: list[Text]) -> Any:
    """Returns TF-IDF features; of a pair both, their difference, product and cosine."""
    matrix = vectorizer.transform(sides_of(texts, pair))
    if not pair:
        return matrix
    a, b = matrix[::2], matrix[1::2]
    both = a.multiply(b)
    cosine_R1 = sp.csr_array(np.asarray(both.sum(axis=1)).reshape(-1, 1))
    return sp.hstack([a, b, abs(a - b), both, cosine_R1], format="csr")


def words() -> Any:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)


def words_and_characters() -> Any:
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return FeatureUnion([("words", words()), ("characters", characters)])


def tfidf_lr(job: Job) -> Made:
    return _tfidf(job.rows, words(), lr(5.0))


def tfidf_svm(job: Job) -> Made:
    return _tfidf(job.rows, words_and_characters(), SVM)


def _tfidf(rows: Rows, vectorizer: Any, family: Family) -> Made:
    pair = rows.kind.pair
    vectorizer.fit(sides_of(rows.all_train.texts, pair))
    return linear(rows, partial(tfidf_features, vectorizer, pair), family)


# Static embeddings


def embedded(embed: Callable[[list[str]], np.ndarray], pair: bool, texts: list[Text]) -> np.ndarray:
    """Returns embeddings [R, D]; of pairs u, v, |u - v|, u * v and the cosine, [R, 4 D + 1]."""
    if not pair:
        return embed(texts)
    blocks = []
    for start in range(0, len(texts), PAIR_BATCH):
        both = embed(sides_of(texts[start : start + PAIR_BATCH], pair))
        u, v = both[::2], both[1::2]
        product = u * v
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        cosine = product.sum(1) / np.maximum(lengths, 1e-9)
        blocks.append(np.hstack([u, v, np.abs(u - v), product, cosine[:, None]]))
    return np.concatenate(blocks)


def _on_embeddings(rows: Rows, embed: Callable[[list[str]], np.ndarray]) -> Made:
    features = partial(embedded, embed, rows.kind.pair)
    # The values of an embedding are small, so the same penalty would be stronger.
    return linear(rows, features, lr(25.0))


def wordllama_lr(job: Job) -> Made:
    import wordllama

    # The package has the weights, but looks for its tokenizer in a folder of another name.
    home = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=home, disable_download=True)
    return _on_embeddings(job.rows, partial(model.embed, norm=True))


@dataclass
class Pipeline:
    """model2vec's own pipeline of an embedding and its trained classifier."""

    pipeline: Any
    num_logits: int

    def answer(self, text: Text) -> object:
        return self.pipeline.predict([text])[0]

    def logits(self, texts: list[Text]) -> np.ndarray:
        chances = self.pipeline.predict_proba(texts)
        logits_RC = np.full((len(texts), self.num_logits), -100.0)
        logits_RC[:, self.pipeline.classes_.astype(np.int64)] = np.log(np.maximum(chances, 1e-30))
        return logits_RC


def model2vec(job: Job) -> Made:
    """Fits a classifier or a regression on model2vec's embeddings.

    For single texts it is the classifier that model2vec trains and stops early by the selection
    split; for pairs and regressions, a linear model on the embeddings as distilled.
    """
    from model2vec import StaticModel
    from model2vec.train import StaticModelForClassification

    rows = job.rows
    if rows.kind.pair or not rows.kind.labels:
        return _on_embeddings(rows, StaticModel.from_pretrained(job.static).encode)
    model = StaticModelForClassification.from_pretrained(job.static)
    labels, held_out = (
        part.labels_R.astype(np.int64).tolist() for part in (rows.learn, rows.selection)
    )
    known = set(labels)
    kept = [place for place, label in enumerate(held_out) if label in known]
    model.fit(
        rows.learn.texts,
        labels,
        X_val=[rows.selection.texts[place] for place in kept],
        y_val=[held_out[place] for place in kept],
        random_seed=job.seed,
        device="cpu",
    )
    return Made(Pipeline(model.to_pipeline(), rows.kind.num_logits), {})


def distill_model2vec(teacher: Path, folder: Path) -> None:
    """Distils model2vec's static model from the teacher's checkpoint, with 256 dimensions."""
    from model2vec.distill import distill

    distill(str(teacher), pca_dims=256, device="cpu").save_pretrained(folder)


# fastText

FASTTEXT_GRID = [
    {"lr": 0.1, "epoch": 25},
    {"lr": 0.5, "epoch": 5},
    {"lr": 0.5, "epoch": 25},
    {"lr": 0.5, "epoch": 10, "minn": 3, "maxn": 5},
]
PREFIX = "__label__"
MARKS = re.compile(r"([.,!?;:()\[\]\"'/])")


def plain(text: Text) -> str:
    """Returns a text or a joined pair in lower case, with punctuation marks as separate words.
    fastText's tutorial prepares texts like that."""
    joined = text if isinstance(text, str) else " ".join(text)
    return " ".join(MARKS.sub(r" \1 ", joined.lower()).split())


class FastText:
    """A fastText model, which is stored in its own file."""

    def __init__(self, file: Path, num_logits: int) -> None:
        import fasttext

        self.file, self.num_logits = file, num_logits
        self.model = fasttext.load_model(str(file))

    def __reduce__(self) -> tuple[Any, ...]:
        return FastText, (self.file, self.num_logits)

    def answer(self, text: Text) -> object:
        return self.model.predict(plain(text))[0][0]

    def logits(self, texts: list[Text]) -> np.ndarray:
        logits_RC = np.full((len(texts), self.num_logits), -100.0)
        for row, text in enumerate(texts):
            labels, chances = self.model.predict(plain(text), k=-1)
            places = [int(label.removeprefix(PREFIX)) for label in labels]
            logits_RC[row, places] = np.log(np.maximum(chances, 1e-30))
        return logits_RC


def fasttext(job: Job) -> Made:
    import fasttext as library

    rows, folder = job.rows, job.folder
    if not rows.kind.labels:
        raise NotImplementedError("fastText has no regression")

    def fit(setting: dict[str, Any], part: Part, name: str) -> FastText:
        file = folder / "rows.txt"
        lines = (
            f"{PREFIX}{int(label)} {plain(text)}\n"
            for text, label in zip(part.texts, part.labels_R.tolist(), strict=True)
        )
        file.write_text("".join(lines))
        # 200,000 buckets of n-grams: the default of 2 million takes 800 MB and gains nothing here.
        fixed = {"wordNgrams": 2, "bucket": 200_000, "thread": 1, "seed": job.seed, "verbose": 0}
        model = library.train_supervised(str(file), **fixed, **setting)
        file.unlink()
        model.save_model(str(folder / name))
        return FastText(folder / name, rows.kind.num_logits)

    def scored(setting: dict[str, Any]) -> float:
        model = fit(setting, rows.learn, "tried.bin")
        return selection_score(rows, model.logits(rows.selection.texts))

    choice = max(FASTTEXT_GRID, key=scored) if job.choice is None else job.choice
    (folder / "tried.bin").unlink(missing_ok=True)
    return Made(fit(choice, rows.all_train, "model.bin"), choice)


# Students of the project


class Ours:
    """An exported student, which answers with its runtime on one thread."""

    def __init__(self, folder: Path, task: str) -> None:
        from tokenizers import Tokenizer

        from mkd.runtime import hub, inference, manifest

        self.folder, self.task = folder, task
        self.student = inference.Student.load(folder, threads=1)
        self.alone = Tokenizer.from_file(
            str(hub.student_manifest(folder).parent / manifest.TOKENIZER)
        )

    def anew(self) -> "Ours":
        return Ours(self.folder, self.task)

    def answer(self, text: Text) -> object:
        return self.student.predict([text], self.task)[0]

    def tokenizer(self, text: Text) -> object:
        sides = [text] if isinstance(text, str) else text
        return [self.alone.encode(side, add_special_tokens=False) for side in sides]

    def logits(self, texts: list[Text]) -> np.ndarray:
        return self.student.logits(texts, self.task)[0]


def load_student(folder: Path, task: str, kind: Kind) -> Ours:
    """Loads a student for a task.

    Raises NotImplementedError if the student does not know the task, and ValueError if it has other
    labels for it. Labels whose names all differ, such as 0 and negative, count as the same.
    """
    ours = Ours(folder, task)
    if task not in ours.student.heads:
        raise NotImplementedError(f"{folder} does not know {task}")
    head = ours.student.head(task)
    renamed = len(head.labels) == len(kind.labels) and not set(head.labels) & set(kind.labels)
    if (head.labels != kind.labels and not renamed) or head.pair != kind.pair:
        raise ValueError(f"{folder}: its task {task} has other labels, or another number of texts")
    return ours


RIVALS: dict[str, Callable[[Job], Made]] = {
    "tfidf-lr": tfidf_lr,
    "tfidf-svm": tfidf_svm,
    "fasttext": fasttext,
    "wordllama-lr": wordllama_lr,
    "model2vec": model2vec,
}


class Worker:
    """The rival or student of this process: the first that is fitted or loaded is timed."""

    def __init__(self) -> None:
        self.timed: Any = None
        self.rows: Any = None

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        if "distill" in request:
            distill_model2vec(Path(request["distill"]), Path(request["folder"]))
            return {}
        if "load" in request:
            self.rows = read_rows(Path(request["rows"]))
            self.timed = load_student(Path(request["load"]), request["task"], self.rows.kind)
            return {}
        if "fit" in request:
            return self.fit(request)
        return self.time(request["time"])

    def fit(self, request: dict[str, Any]) -> dict[str, Any]:
        rows, folder = read_rows(Path(request["rows"])), Path(request["folder"])
        if "student" in request:
            fitted: Any = load_student(Path(request["student"]), request["task"], rows.kind)
            about: dict[str, Any] = {"choice": {}, "seconds": None}
            np.save(folder / "logits.npy", fitted.logits(rows.dev.texts))
        elif (folder / "about.json").exists():
            fitted = joblib.load(folder / "fitted.joblib")
            about = json.loads((folder / "about.json").read_text())
        else:
            begun = time.perf_counter()
            job = Job(rows, request["seed"], folder, Path(request["static"]), request["choice"])
            fitted, choice = RIVALS[request["fit"]](job)
            about = {"choice": choice, "seconds": time.perf_counter() - begun}
            np.save(folder / "logits.npy", fitted.logits(rows.dev.texts))
            joblib.dump(fitted, folder / "fitted.joblib")
            (folder / "about.json").write_text(json.dumps(about))
        if self.timed is None:
            self.timed, self.rows = fitted, rows
        return about

    def time(self, what: str) -> dict[str, Any]:
        # A student caches words that it has seen. A new one has not seen the rows to time.
        timed = self.timed.anew() if isinstance(self.timed, Ours) else self.timed
        call = getattr(timed, what)
        warmed = time.perf_counter() + WARM_SECONDS
        for text in self.rows.to_warm:
            call(text)
            if time.perf_counter() > warmed:
                break
        gc.disable()
        seconds = []
        start, worked = time.perf_counter(), time.thread_time()
        before = start
        for text in self.rows.to_time:
            call(text)
            now = time.perf_counter()
            seconds.append(now - before)
            before = now
        gc.enable()
        return {"seconds": seconds, "wall": before - start, "thread": time.thread_time() - worked}


def main() -> None:
    # Libraries print to standard output, too. Their output goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            reply = worker.reply(json.loads(line))
        except NotImplementedError as error:
            reply = {"cannot": str(error)}
        except ValueError as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
