"""Names of all metrics and tags of a run, with functions that build and parse them.

Scores are in points from 0 to 100. `<setting>` is the way a model is called, such as `b1-text-t1`
(mkd/evaluation/speed.py). `<backend>` is `torch` or an export. `<budget>` is what may be lost on
the selection split: `lossless` is nothing, `one_point` is one point.

| name | meaning |
|---|---|
| `mean_score`, `kept_percent` | `quality/mean` and `retention/mean`, for tables of runs |
| `ms`, `times_faster`, `MB` | latency of one text, its multiple of the teacher's speed, and size, \
of the fastest offered backend |
| `quality/<task>/<metric>` | the student on dev; `score` is the mean of the task's metrics |
| `quality/<task>/ece` | expected calibration error of the student's probabilities on dev, 0 to 1 |
| `quality/mean` | mean of the tasks' scores |
| `teacher/quality/...`, `teacher/speed/...` | the same for the teacher |
| `teacher/train/...` | losses of the teacher's refinement |
| `pretraining/train/...` | losses of the student's training on text before the tasks |
| `pretraining/selection/mean` | variance of the teacher's representations that it explains, in \
percent |
| `baseline/...` | the hard-label twin: same model, steps and seed, trained on labels only |
| `before/quality/...` | the student before fine-tuning, on the tasks that it knew |
| `anew/...` | the same student, trained from new weights instead of fine-tuned |
| `majority/quality/...` | a model that always predicts the most frequent class, on dev |
| `majority/selection/...` | the same on the selection split |
| `retention/<task>`, `retention/mean` | the student's score in percent of the teacher's |
| `agreement/<task>`, `agreement/mean` | percent of dev rows where student and teacher agree |
| `agreement/<regression task>` | correlation of the student's and teacher's scores, times 100 |
| `deferral/<task>/<budget>/answered` | percent of dev rows that the student answers, if the \
teacher answers those that it is less sure of; `mean`: over tasks |
| `deferral/<task>/<budget>/lost` | the teacher's score minus that of both together, on dev |
| `deferral/<task>/<budget>/min_confidence` | the confidence from which on the student answers |
| `calibration/<task>/temperature` | temperature of the student's probabilities |
| `calibration/<task>/ece_before` | `quality/<task>/ece` without the temperature |
| `selection/<task>`, `selection/mean` | scores on the selection split, to choose the best step |
| `selected/<task>`, `selected/mean` | the same for the kept weights, to choose the best model |
| `train/<term>/<task>` | terms of the loss, by step |
| `train/learning_rate` | learning rate, by step |
| `train/log_variance/<task>` | learned log-variance that weights the task's loss |
| `sampling/<task>` | share of the batches with rows of the task |
| `data/<task>/cut` | truncated training rows, in percent |
| `data/<task>/unknown` | unknown tokens in the training rows, in percent |
| `data/<task>/...` | overlap of training rows, by groups (mkd/selection/split.py) |
| `speed/<backend>/<setting>/p50_ms`, `.../p95_ms` | percentiles of the latency, in milliseconds |
| `speed/<backend>/<setting>/rows_per_s` | throughput, in rows a second |
| `speed/<backend>/<setting>/calls` | number of timed calls |
| `speed/<backend>/<setting>/ratio` | speed as a multiple of the teacher's |
| `speed/busy_share` | share of the core used by other work during the measurement |
| `speed/protocol` | version of the way that speed is measured |
| `size/parameters`, `size/bytes` | size of the student |
| `size/parameters_without_embeddings` | parameters of the student without embedding tables |
| `size/flops` | FLOPs of one row |
| `export/<backend>/quality/...` | scores of the backend on dev |
| `export/<backend>/loss` | loss of the mean score against torch, in points |
| `export/<backend>/max_difference` | largest difference of a logit to torch |
| `export/<backend>/bytes` | size of the exported model |
| `export/<backend>/offered` | 1 if the backend passed its check, else 0 |
| `search/quality` | best score of a trial on the selection split, the objective of a search |
| `search/...` | a whole search: seconds and hypervolume |
| `trials/<state>` | a whole search: number of trials in the state |
| `importance/<objective>/<setting>` | a whole search: importance of a setting for an objective |
| `mean/<variant>` | an ablation: mean score of a variant |
| `difference/<variant>` | an ablation: mean score minus that of the first variant |
| `seconds/student` | an ablation: duration of the student's training in a trial |
| `seconds/trial` | an ablation: duration of a trial |
| `label/...` | a labelled corpus: rows, errors, seconds, rows a second |
| `states/bytes` | size of the cached hidden states |
| `rows/tokenised` | number of rows of a split tokenized so far; shown, not logged |
| `progress/<phase>` | completed share of a phase, from 0 to 1; shown, not logged |
| `shown/loss` | loss of one training step; shown, not logged |

Tags are named `mkd.<what>`; the constants TAG_... list them.
"""

from collections.abc import Mapping

MEAN = "mean"
"""Stands for the mean over all tasks, in place of a task's name."""

MEAN_SCORE, KEPT_PERCENT = "mean_score", "kept_percent"
MS, TIMES_FASTER, MEGABYTES = "ms", "times_faster", "MB"
"""The few metrics that a table of runs shows. They are the only ones without a group."""

QUALITY = "quality/"
SCORE, CALIBRATION_ERROR = "score", "ece"
QUALITY_MEAN = "quality/mean"

TEACHER = "teacher/"
PRETRAINING = "pretraining/"
BASELINE = "baseline/"
BEFORE = "before/"
ANEW = "anew/"
MAJORITY = "majority/"
"""Prefixes of complete metric names, for metrics of a model other than the student."""

RETENTION, RETENTION_MEAN = "retention/", "retention/mean"
AGREEMENT, AGREEMENT_MEAN = "agreement/", "agreement/mean"
LOSSLESS, ONE_POINT = "lossless", "one_point"
ANSWERED, LOST, MIN_CONFIDENCE = "answered", "lost", "min_confidence"
"""Budgets of a deferral and what they give, to be passed to deferral()."""
PREDICTIONS_FILE, DEFERRAL_FILE = "predictions.parquet", "deferral.csv"
"""Artifacts of a run that the report reads."""
TEMPERATURE, ECE_BEFORE = "temperature", "ece_before"
SELECTION, SELECTION_MEAN = "selection/", "selection/mean"
SELECTED, SELECTED_MEAN = "selected/", "selected/mean"
SAMPLING = "sampling/"
"""Prefixes of families with one value for each task; a task's name or MEAN follows."""

LEARNING_RATE = "train/learning_rate"
TOTAL_LOSS = "loss"
"""The term of `train/<term>/<task>` that is minimised."""
LOG_VARIANCE = "log_variance"

CUT, UNKNOWN = "cut", "unknown"

SPEED = "speed/"
BUSY_SHARE = "speed/busy_share"
PROTOCOL = "speed/protocol"
P50, ROWS_PER_S, CALLS, RATIO = "p50_ms", "rows_per_s", "calls", "ratio"

SIZE_PARAMETERS = "size/parameters"
SIZE_PARAMETERS_WITHOUT_EMBEDDINGS = "size/parameters_without_embeddings"
SIZE_BYTES = "size/bytes"
SIZE_FLOPS = "size/flops"

BYTES, OFFERED, MAX_DIFFERENCE = "bytes", "offered", "max_difference"
LOSS, LOSS_BATCHES, LOSS_SINGLE_ROWS = "loss", "loss_batches", "loss_single_rows"
"""Values of an exported backend, to be passed to export(). Names of scores can be passed too."""

SEARCH_QUALITY = "search/quality"
SEARCH_HYPERVOLUME = "search/hypervolume"
SEARCH_SECONDS = "search/seconds"
SEARCH_OTHER_SECONDS = "search/other_seconds"

SECONDS_STUDENT = "seconds/student"
SECONDS_TRIAL = "seconds/trial"

LABEL_ROWS = "label/rows"
LABEL_ERRORS = "label/errors"
LABEL_SECONDS = "label/seconds"
LABEL_ROWS_PER_S = "label/rows_per_s"

STATES_BYTES = "states/bytes"
ROWS_TOKENISED = "rows/tokenised"

SHARE = "progress"
"""Name under which a phase reports its completed share.

phase_report() renames it to progress(phase).
"""
SHOWN_LOSS = "shown/loss"
"""Loss of one step. It is only shown, before the first losses are logged."""
PHASE_STUDENT, PHASE_TEACHER, PHASE_PRETRAINING = "student", "teacher", "pretraining"
"""Names of the phases that train a student and refine a teacher."""
PHASES_OF_ROWS = ("logits of ", "hidden states", "test ")
"""Starts of the names of phases whose steps are rows."""
PHASES_WITHOUT_STEPS = ("reading ", "loading ", "checking ", "timing ", "opening ", "writing ")
"""Starts of the names of phases that count nothing, such as `loading the teacher`."""

TAG_KIND = "mkd.kind"
"""Kind of the run, one of KIND_..."""
TAG_STATE = "mkd.state"
"""Final state of a trial, one of STATE_..."""
TAG_ERROR = "mkd.error"
"""Reason why a run failed."""
TAG_TASKS = "mkd.tasks"
TAG_STUDENT = "mkd.student"
TAG_TEACHER = "mkd.teacher"
TAG_TEACHER_KEY = "mkd.teacher_key"
TAG_SELECTION = "mkd.selection"
"""Version of the method that draws the selection split."""
TAG_FOLDER = "mkd.folder"
"""Machine and folder of the run, used to find a killed run again."""
TAG_PROCESS = "mkd.process"
"""The process that the run was opened by (mkd/storage/owners.py). If it has ended while the run is
RUNNING, the next start marks the run as KILLED.
"""
TAG_CHANGED = "mkd.changed"
"""Of a resumed run: the settings that were changed since its first start, as JSON with both values.
Its params show the first values, as MLflow cannot change them.
"""
TAG_OUTPUT = "mkd.output"
"""Folder or file that the run wrote outside of MLflow."""
TAG_PARENT = "mkd.parent"
"""Id of the run that this one belongs to, or starts from."""
TAG_STUDY = "mkd.study"
TAG_STORAGE = "mkd.storage"
TAG_TRIAL = "mkd.trial"
"""Number of the trial in its study."""
TAG_FRONT = "mkd.front"
"""Whether a trial is on the Pareto front of its study: true or false."""
TAG_PROMOTED = "mkd.promoted"
"""Study from which a promoted student was chosen."""
TAG_VARIANT = "mkd.variant"
TAG_KEY = "mkd.key"
"""Key of everything that the result of an ablation's trial depends on."""
TAG_REPORT = "mkd.report"
"""Path of the report among the run's artifacts."""

KIND_DISTILL = "distill"
KIND_TEACHER = "teacher"
KIND_FINETUNE = "finetune"
KIND_PROMOTE = "promote"
KIND_TRIAL = "trial"
KIND_SEARCH = "search"
KIND_ABLATION = "ablation"
KIND_EXPORT = "export"
KIND_SUBMIT = "submit"
KIND_LABEL = "label"
KIND_REPORT = "report"

STATE_COMPLETE = "complete"
STATE_PRUNED = "pruned"
STATE_INFEASIBLE = "infeasible"
STATE_FAILED = "failed"
STATE_INTERRUPTED = "interrupted"


def of(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics with the prefix added to each name."""
    return {prefix + name: value for name, value in metrics.items()}


def quality(task: str, metric: str = SCORE) -> str:
    """Returns the name of a task's metric on dev; defaults to its score.

    >>> quality("sst2", "accuracy")
    'quality/sst2/accuracy'
    """
    return f"quality/{task}/{metric}"


def parsed_quality(name: str) -> tuple[str, str] | None:
    """Returns task and metric of `quality/<task>/<metric>`, or None for other names.

    `quality/mean` is one of the other names.
    """
    head, _, rest = name.partition("/")
    task, _, metric = rest.partition("/")
    return (task, metric) if head == "quality" and metric else None


def task_of_score(name: str) -> str | None:
    """Returns the task of `quality/<task>/score`, or None for other names."""
    parsed = parsed_quality(name)
    return parsed[0] if parsed and parsed[1] == SCORE else None


def is_score(name: str) -> bool:
    """Returns whether the name is that of a task's score on dev, or of the mean score."""
    return name == QUALITY_MEAN or task_of_score(name) is not None


def train(term: str, task: str) -> str:
    """Returns the name of a term of a task's loss."""
    return f"train/{term}/{task}"


def data(task: str, what: str) -> str:
    """Returns the name of a value that describes a task's training rows."""
    return f"data/{task}/{what}"


def size(what: str) -> str:
    """Returns the name of a size of the student. what: `parameters`, `bytes` or `flops`."""
    return f"size/{what}"


def speed(backend: str, setting: str, statistic: str) -> str:
    """Returns the name of a speed statistic of a backend in a setting.

    >>> speed("int8", "b1-text-t1", P50)
    'speed/int8/b1-text-t1/p50_ms'
    """
    return f"speed/{backend}/{setting}/{statistic}"


def percentile(percent: int) -> str:
    """Returns the statistic of a latency percentile, such as `p95_ms`."""
    return f"p{percent}_ms"


def parsed_speed(name: str) -> tuple[str, str, str] | None:
    """Returns backend, setting and statistic of a speed metric, or None for other names."""
    if not name.startswith(SPEED) or name.count("/") != 3:
        return None
    _, backend, setting, statistic = name.split("/")
    return backend, setting, statistic


def export(backend: str, what: str) -> str:
    """Returns the name of a value of an exported backend. what: can be the name of a score."""
    return f"export/{backend}/{what}"


def parsed_export(name: str) -> tuple[str, str] | None:
    """Returns backend and what of `export/<backend>/<what>`, or None for other names."""
    head, _, rest = name.partition("/")
    backend, _, what = rest.partition("/")
    return (backend, what) if head == "export" and what else None


def deferral(task: str, budget: str, what: str) -> str:
    """Returns the name of what a budget of a deferral gives. task: can be MEAN."""
    return f"deferral/{task}/{budget}/{what}"


def calibration(task: str, what: str) -> str:
    """Returns the name of a value of a task's calibration."""
    return f"calibration/{task}/{what}"


def trials(state: str) -> str:
    """Returns the name of the number of trials of a search that ended in the state."""
    return f"trials/{state}"


def importance(objective: str, setting: str) -> str:
    """Returns the name of a setting's importance for an objective."""
    return f"importance/{objective}/{setting}"


def variant_mean(variant: str) -> str:
    """Returns the name of the mean score of an ablation's variant."""
    return f"mean/{variant}"


def variant_difference(variant: str) -> str:
    """Returns the name of a variant's difference to the first variant."""
    return f"difference/{variant}"


def progress(phase: str) -> str:
    """Returns the name of the completed share of a phase."""
    return f"progress/{phase}"


def parsed_progress(name: str) -> str | None:
    """Returns the phase of `progress/<phase>`, or None for other names."""
    return name.removeprefix("progress/") if name.startswith("progress/") else None


def is_only_shown(name: str) -> bool:
    """Returns whether a reported value is shown while a run is at work, and not logged."""
    return name in (SHOWN_LOSS, ROWS_TOKENISED) or parsed_progress(name) is not None


def is_training_loss(name: str) -> bool:
    """Returns whether the name is that of a loss that a training minimises, of any model."""
    return name == SHOWN_LOSS or f"/{train(TOTAL_LOSS, '')}" in f"/{name}"


def is_selection_mean(name: str) -> bool:
    """Returns whether the name is that of the mean score on the selection split, of any model."""
    return f"/{name}".endswith(f"/{SELECTION_MEAN}")


def tag_hardware(what: str) -> str:
    """Returns the tag of a property of the machine, such as `cpu`, `cores`, `bfloat16_speedup`."""
    return f"mkd.hardware.{what}"
