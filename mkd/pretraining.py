"""Training on text before the tasks: a student's representations follow those of the encoder that
the teacher is refined from.

The representation of a text is what a model's heads read. The student gets one head, which maps its
representation to the mean of the encoder's last hidden states, and learns by squared error from
single texts: those of the tasks, and files of other text. The head is then dropped. Labels are not
used. Sources: Reimers and Gurevych 2020 (arXiv 2004.09813) for the loss; XtremeDistilTransformers
(arXiv 2106.04563) for such a stage before distillation.

Axes: B rows of a batch, R rows, D width of the encoder.
"""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from safetensors.torch import load_file, save, save_file
from torch import nn

from mkd import names
from mkd.config import Config, LossConfig, PretrainConfig, SamplingConfig, Stores, TextFileConfig
from mkd.evaluation.scoring import predict_logits, torch_infer
from mkd.rates import with_learning_rates
from mkd.result import Report, phase_report
from mkd.runtime.layout import Layout
from mkd.storage.run_folder import Checkpoint
from mkd.storage.versions import version_key
from mkd.students import Student
from mkd.students.heads import Heads, on
from mkd.students.transformer import TransformerStudent
from mkd.students.words import Wide, WordModel
from mkd.tasks.rows import make_split, rows_of_file
from mkd.tasks.sources import table_of_text
from mkd.tasks.task import Kind
from mkd.teachers.contents import checkpoint_hashes
from mkd.teachers.states import hidden_states
from mkd.teachers.task_teacher import StateModel
from mkd.tokenization.tokenise import token_store
from mkd.tokenization.tokens import ModelData, TaskData, TokenStore, layout_of
from mkd.training.batches import Batch, TaskRows, joint_batches
from mkd.training.matching import SAMPLE_ROWS, MatchedStates
from mkd.training.stored import Save, trained_folder
from mkd.training.trainer import train_model

HEAD = "text"
"""Name of the head that maps to the encoder's representation."""
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Targets:
    """The encoder's representations, indexed by rows as an array [R, D] would be.

    - `mean` [D], `std`: mean and standard deviation by which each target is standardised.
    """

    states: MatchedStates
    mean: np.ndarray
    std: float

    def __getitem__(self, rows_B: np.ndarray) -> np.ndarray:
        standard_BD: np.ndarray = (last_states(self.states, rows_B) - self.mean) / self.std
        return standard_BD


def last_states(states: MatchedStates, rows_B: np.ndarray) -> np.ndarray:
    """Returns the states [B, D] float32 of the only layer."""
    found_BD: np.ndarray = states.of(rows_B)[:, states.places[0]].astype(np.float32)
    return found_BD


def targets_of(all_states: list[MatchedStates], rows: list[np.ndarray]) -> list[Targets]:
    """Returns the targets of several sets of rows, standardised by SAMPLE_ROWS rows of each."""
    sample = np.concatenate(
        [
            last_states(states, some[:: -(-len(some) // SAMPLE_ROWS)])
            for states, some in zip(all_states, rows, strict=True)
        ]
    )
    mean = sample.mean(0)
    std = max(float((sample - mean).std()), float(np.finfo(np.float16).tiny))
    return [Targets(states, mean, std) for states in all_states]


def corpus_data(stores: Stores, corpus: list[TextFileConfig], side: ModelData) -> list[TaskData]:
    """Returns the files of text, tokenized for one model, without selection rows.

    Raises ValueError for a missing file or column.
    """
    datas = []
    for text in corpus:
        kind = Kind((), len(text.text) == 2, ())
        split = make_split(rows_of_file(table_of_text(text), kind))
        store = token_store(stores.root, split, kind, side.tokenizer, stores.data.max_length)
        rows = np.arange(len(store.labels))
        datas.append(TaskData(text.file, kind, store, {}, rows, rows[:0], 0.0, 1.0))
    return datas


def single_texts(datas: list[TaskData]) -> list[TaskData]:
    """Returns each text of each row as a row of its own, without labels, for the one head."""
    return [
        data._replace(name=HEAD, train=side, mean=0.0, std=1.0)
        for data in datas
        for side in _sides(data.train)
    ]


def _sides(store: TokenStore) -> list[TokenStore]:
    """Returns the first texts of a store and, of pairs, the second texts."""
    sides = [store.a] if store.b is None else [store.a, store.b]
    no_labels = np.full(len(store.labels), np.nan)
    parts = [_sides(part) for part in store.parts]
    return [
        TokenStore(
            texts, None, no_labels, f"{store.fingerprint}-{place}", tuple(p[place] for p in parts)
        )
        for place, texts in enumerate(sides)
    ]


def check_pretraining(
    settings: PretrainConfig,
    checkpoint: str,
    stores: Stores,
    teacher_data: ModelData,
    student_data: ModelData,
) -> None:
    """Reads the corpus, if there is pretraining. checkpoint: the setting teacher.checkpoint.

    Raises ValueError for a wrong file, or if no task has a teacher refined from a checkpoint.
    """
    if not settings.steps:
        return
    if not (teacher_data.datas and checkpoint):
        raise ValueError(
            f"pretrain.steps is {settings.steps}; allowed: 0 without teacher.checkpoint, "
            "whose encoder the student follows"
        )
    for side in (teacher_data, student_data):
        corpus_data(stores, settings.corpus, side)


def pretrain(
    config: Config,
    student: Student,
    student_data: ModelData,
    teacher_data: ModelData,
    encoder: TransformerStudent,
    report: Report,
) -> None:
    """Trains the student on text, or loads its weights from the cache. Its heads do not change.

    - `student_data`, `teacher_data`: the tasks by the tokenizer of the student and of the teacher.
    - `encoder`: the teacher before its refinement.

    The text is that of the training rows of the refined teacher's tasks, and pretrain.corpus.
    """
    stores, settings = config.stores, config.pretrain
    of_teacher = {data.name for data in teacher_data.datas}
    read = [data for data in student_data.datas if data.name in of_teacher]
    read += corpus_data(stores, settings.corpus, student_data)
    by_encoder = teacher_data.datas + corpus_data(stores, settings.corpus, teacher_data)
    train = replace(
        with_learning_rates(config).train,
        steps=settings.steps,
        eval_every=settings.steps,
        patience=0,
        sampling=SamplingConfig(),
    )
    hashes = checkpoint_hashes(config.teacher, config.student, config.data)
    encoder_hash = hashes["teacher.checkpoint"]
    parts = {
        "encoder": encoder_hash,
        "precision": config.teacher.train.precision,
        "texts": [data.train.fingerprint for data in by_encoder],
        "student_texts": [data.train.fingerprint for data in read],
        "rows": [hashlib.sha256(data.train_rows.tobytes()).hexdigest() for data in read],
        "student": asdict(config.student),
        "start": _hash_of(student),
        "train": asdict(train),
        "seed": config.seed,
        "max_length": stores.data.max_length,
    } | version_key("pretrained")

    def fit(checkpoint: Checkpoint) -> Save:
        max_length, precision = stores.data.max_length, config.teacher.train.precision
        reader = _reader(encoder, teacher_data, encoder_hash, max_length, precision)
        # Not HEAD: the encoder's states do not depend on a head, but it has those of tasks only.
        datas = [
            data._replace(name=teacher_data.datas[0].name) for data in single_texts(by_encoder)
        ]
        readers = [reader._replace(data=data) for data in datas]
        states = hidden_states(stores.root, [reader.num_states - 1], readers, report)
        model = _with_one_head(student, reader.width)
        layout = layout_of(student_data.tokenizer, student.joined, max_length)
        texts = single_texts(read)
        targets = targets_of(states, [data.train_rows for data in texts])
        sources = [
            TaskRows(data, data.train_rows, target)
            for data, target in zip(texts, targets, strict=True)
        ]

        def batches(start: int) -> Iterator[Batch]:
            size, sampling = train.batch_size, train.sampling
            return joint_batches(sources, layout, size, sampling, config.seed, train.steps, start)

        def scores() -> dict[str, float]:
            return {names.MEAN: explained_percent(model, sources, layout)}

        train_model(
            model,
            batches,
            scores,
            LossConfig(kind="mse", hard_weight=0.0),
            train,
            phase_report(report, names.PRETRAINING, names.PHASE_PRETRAINING),
            checkpoint,
        )
        weights = {name: value for name, value in model.state_dict().items() if _is_body(name)}
        return lambda aside: save_file(weights, aside / WEIGHTS_FILE)

    folder = trained_folder(stores.root, "pretrained", parts, config.checkpoint_seconds, fit)
    student.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=False)


def _reader(
    encoder: TransformerStudent,
    side: ModelData,
    checkpoint: str,
    max_length: int,
    precision: str,
) -> StateModel:
    """Returns the encoder as a model whose hidden states can be read. checkpoint: its hash."""
    model = on(copy.deepcopy(encoder), side.device).eval()
    layout = layout_of(side.tokenizer, True, max_length)
    by = {"encoder": checkpoint, "layout": list(layout), "precision": precision}
    widths = model.state_widths
    return StateModel(
        lambda: model, checkpoint, by, layout, precision, side.datas[0], len(widths), widths[0]
    )


def _hash_of(student: Student) -> str:
    """Returns a hash of the weights that all tasks share."""
    weights = {name: value for name, value in student.state_dict().items() if _is_body(name)}
    return hashlib.sha256(save(weights)).hexdigest()


def _is_body(name: str) -> bool:
    """Returns whether a weight belongs to what all tasks share."""
    return not name.startswith(("heads.", "wide."))


def _with_one_head(student: Student, width: int) -> Student:
    """Returns a copy of the student with a head of `width` outputs in place of the tasks' heads."""
    model = copy.deepcopy(student)
    labels = [str(output) for output in range(width)]
    # Called a pair, so that the wide part has no scores for it.
    model.config.tasks = {HEAD: {"labels": labels, "pair": True, "mean": 0.0, "std": 1.0}}
    first = model.heads.linears[0]
    assert isinstance(first, nn.Linear), "all heads are"
    model.heads = Heads(first.in_features, model.config)
    if isinstance(model, WordModel):
        model.wide = Wide(model.config, model.embeddings.num_embeddings)
    return on(model, next(student.parameters()).device)


def explained_percent(model: Student, sources: list[TaskRows], layout: Layout) -> float:
    """Returns how much of the variance of the targets of all selection rows the model explains.

    It is 100 for exact predictions and 0 for the mean of each task.
    """
    error = variance = 0.0
    for source in sources:
        data, rows = source.data, source.data.selection_rows
        if not len(rows) or source.teacher is None:
            continue
        target = source.teacher[rows]
        predictions = predict_logits(torch_infer(model), data.train, rows, data.name, layout)
        error += float(((predictions - target) ** 2).sum())
        variance += float(((target - target.mean(0)) ** 2).sum())
    return 100 * (1 - error / max(variance, np.finfo(float).tiny))
