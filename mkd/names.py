"""Every metric and tag of a run by its name: built here, and taken apart here.

Metrics. Scores are in points from 0 to 100. <setting> is how a model was asked, as `b1-text-t1` (mkd/evaluation/speed.py).

| name | meaning |
|---|---|
| `quality/<task>/<metric>` | the student on dev; `score`: the mean of the task's metrics; `ece`: calibration error, from 0 to 1 |
| `quality/mean` | mean of the tasks' scores |
| `teacher/quality/...`, `teacher/speed/...` | the same of the teacher; `teacher/train/...`: of its refinement |
| `baseline/...` | of the student's hard-label twin: the same model, steps and seed, trained without a teacher |
| `before/quality/...` | of a student before its fine-tuning, on the tasks that it knew |
| `anew/...` | of the same student that was started anew instead of fine-tuned |
| `majority/quality/...`, `majority/selection/...` | of a model that always gives the most frequent class |
| `retention/<task>`, `retention/mean` | the student's score in percent of the teacher's |
| `agreement/<task>`, `agreement/mean` | share of dev rows where student and teacher answer alike |
| `selection/<task>`, `selection/mean` | scores on the selection split over the steps, by which the best weights are chosen |
| `selected/<task>`, `selected/mean` | scores of the kept weights there, by which one model of many is chosen |
| `train/<term>/<task>`, `train/learning_rate` | losses over the steps, and the learning rate |
| `train/log_variance/<task>` | learnt uncertainty of a task, where it weights the task's loss |
| `sampling/<task>` | share of the batches that were of the task |
| `data/<task>/cut`, `data/<task>/unknown` | training rows that are cut, and tokens that are unknown, in percent |
| `data/<task>/...` | how the training rows overlap: groups, and how they were set apart (mkd/selection/carving.py) |
| `speed/<backend>/<setting>/<statistic>` | `p50_ms`, `p95_ms` ..., `rows_per_s`, `calls`, `ratio` (times the teacher's speed) |
| `speed/busy_share`, `speed/protocol` | share of the core that other work had meanwhile; in which way speed was measured |
| `size/parameters`, `size/bytes`, `size/flops` | of the student, and `size/parameters_without_embeddings`; FLOPs of one row |
| `export/<backend>/<what>` | `max_difference` of the logits, `quality/...`, `loss` of the mean, `bytes`, `offered` (1 or 0) |
| `search/quality` | the trial's best score on the selection split, which a search goes by |
| `search/...`, `trials/<state>`, `importance/<objective>/<setting>` | of a whole search: time, hypervolume, trials by their end |
| `mean/<variant>`, `difference/<variant>` | of an ablation: mean score, and that less the first variant's |
| `seconds/student`, `seconds/trial` | what an ablation's trial took |
| `label/...` | of a corpus that was labelled: rows, errors, seconds, rows a second |
| `states/bytes`, `rows/tokenised` | size of the stored hidden states; rows tokenised so far |
| `progress/<phase>` | share of a phase that is done, from 0 to 1: shown, not logged |

Tags are `mkd.<what>`: the constants TAG_... below.
"""

from collections.abc import Mapping

MEAN = "mean"
"""In the place of a task: the mean over all."""

QUALITY = "quality/"
SCORE, CALIBRATION_ERROR = "score", "ece"
QUALITY_MEAN = "quality/mean"

TEACHER = "teacher/"
BASELINE = "baseline/"
BEFORE = "before/"
ANEW = "anew/"
MAJORITY = "majority/"
"""Prefixes of whole names: whose the metric is, where it is not the student's own."""

RETENTION, RETENTION_MEAN = "retention/", "retention/mean"
AGREEMENT, AGREEMENT_MEAN = "agreement/", "agreement/mean"
SELECTION, SELECTION_MEAN = "selection/", "selection/mean"
SELECTED, SELECTED_MEAN = "selected/", "selected/mean"
SAMPLING = "sampling/"
"""Families of one number a task: the prefix, before the task's name or MEAN."""

LEARNING_RATE = "train/learning_rate"
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
"""Of a backend, with the scores' own names: what export() takes."""

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
"""What a phase calls its own share that is done, before it is told as progress(phase)."""
PHASE_STUDENT = "student"
"""The phase of a student's training."""

TAG_KIND = "mkd.kind"
"""What the run is: KIND_..."""
TAG_STATE = "mkd.state"
"""How a trial has ended: STATE_..."""
TAG_ERROR = "mkd.error"
"""Why a run has failed."""
TAG_TASKS = "mkd.tasks"
TAG_STUDENT = "mkd.student"
TAG_TEACHER = "mkd.teacher"
TAG_TEACHER_KEY = "mkd.teacher_key"
TAG_SELECTION = "mkd.selection"
"""How the rows of the selection split were drawn."""
TAG_FOLDER = "mkd.folder"
"""The machine and folder that the run works in, by which one that was killed is found again."""
TAG_OUTPUT = "mkd.output"
"""The folder or file that the run has written, outside of MLflow."""
TAG_PARENT = "mkd.parent"
"""The id of the run that this one belongs to, or starts from."""
TAG_STUDY = "mkd.study"
TAG_STORAGE = "mkd.storage"
TAG_TRIAL = "mkd.trial"
"""The trial's number in its study."""
TAG_FRONT = "mkd.front"
"""Whether a trial is on its study's front: true or false."""
TAG_PROMOTED = "mkd.promoted"
"""The study that a promoted student was chosen from."""
TAG_VARIANT = "mkd.variant"
TAG_KEY = "mkd.key"
"""Of all that the result of an ablation's trial depends on."""
TAG_REPORT = "mkd.report"
"""Where the report is among the run's artifacts."""

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
    """The metrics with the prefix before each name."""
    return {prefix + name: value for name, value in metrics.items()}


def quality(task: str, metric: str = SCORE) -> str:
    """The name of a task's metric on dev; without a metric, of its score."""
    return f"quality/{task}/{metric}"


def parsed_quality(name: str) -> tuple[str, str] | None:
    """Task and metric of a `quality/<task>/<metric>`; None for any other name, `quality/mean` too."""
    head, _, rest = name.partition("/")
    task, _, metric = rest.partition("/")
    return (task, metric) if head == "quality" and metric else None


def task_of_score(name: str) -> str | None:
    """The task of a `quality/<task>/score`; None for any other name."""
    parsed = parsed_quality(name)
    return parsed[0] if parsed and parsed[1] == SCORE else None


def is_score(name: str) -> bool:
    """Whether it is a task's score on dev, or the mean of these."""
    return name == QUALITY_MEAN or task_of_score(name) is not None


def train(term: str, task: str) -> str:
    """The name of a part of a task's loss."""
    return f"train/{term}/{task}"


def data(task: str, what: str) -> str:
    """The name of a number about a task's training rows."""
    return f"data/{task}/{what}"


def size(what: str) -> str:
    """The name of a size of the student: `parameters`, `bytes`, `flops`."""
    return f"size/{what}"


def speed(backend: str, setting: str, statistic: str) -> str:
    """The name of a statistic of a backend's speed in a setting."""
    return f"speed/{backend}/{setting}/{statistic}"


def percentile(percent: int) -> str:
    """The statistic: so many of 100 calls take no longer."""
    return f"p{percent}_ms"


def parsed_speed(name: str) -> tuple[str, str, str] | None:
    """Backend, setting and statistic of a `speed/<backend>/<setting>/<statistic>`; None for any other name."""
    if not name.startswith(SPEED) or name.count("/") != 3:
        return None
    _, backend, setting, statistic = name.split("/")
    return backend, setting, statistic


def export(backend: str, what: str) -> str:
    """The name of a number about an exported backend; what: also the name of a score."""
    return f"export/{backend}/{what}"


def parsed_export(name: str) -> tuple[str, str] | None:
    """Backend and what of an `export/<backend>/<what>`; None for any other name."""
    head, _, rest = name.partition("/")
    backend, _, what = rest.partition("/")
    return (backend, what) if head == "export" and what else None


def trials(state: str) -> str:
    """The name of the number of a search's trials that have ended so."""
    return f"trials/{state}"


def importance(objective: str, setting: str) -> str:
    """The name of a setting's importance to an objective."""
    return f"importance/{objective}/{setting}"


def variant_mean(variant: str) -> str:
    """The name of the mean score of an ablation's variant."""
    return f"mean/{variant}"


def variant_difference(variant: str) -> str:
    """The name of its difference to the first variant."""
    return f"difference/{variant}"


def progress(phase: str) -> str:
    """The name of the share of a phase that is done."""
    return f"progress/{phase}"


def parsed_progress(name: str) -> str | None:
    """The phase of a `progress/<phase>`; None for any other name."""
    return name.removeprefix("progress/") if name.startswith("progress/") else None


def tag_hardware(what: str) -> str:
    """The tag of a property of the machine: `cpu`, `cores`, `bfloat16_speedup`."""
    return f"mkd.hardware.{what}"
