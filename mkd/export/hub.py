"""An exported folder in the layout of the Hugging Face hub: model card, config and tokenizer."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.config import HubConfig
from mkd.export.backends import latency_ms
from mkd.runtime.hub import BACKEND, CONFIG, HUB_NAME, student_manifest
from mkd.runtime.manifest import GRAPHS, MANIFEST, manifest_in_graphs, read_manifest
from mkd.students import Student

CARD = "README.md"
HUB_METRICS = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "macro_f1": "f1",
}
"""The hub's names of metrics, where they differ."""

SAVED = """# A student of MKD

This folder holds the PyTorch weights of a model for {tasks}.

It is no model of `transformers`: `AutoModel` does not load it. Export it, and load the export:

```sh
mkd export --export.student THIS_FOLDER --export.to FOLDER
```

```python
import mkd

student = mkd.Student.load("FOLDER")
student.predict(["a text"], "{task}")
```

`mkd.students.load_model("THIS_FOLDER")` returns the PyTorch module itself.
"""
"""Text of the README.md beside a student's weights."""


def describe_saved(student: Student, folder: Path) -> None:
    """Writes a README.md beside a student's weights: how the folder is loaded."""
    tasks = sorted(student.config.tasks)
    text = SAVED.format(tasks=", ".join(tasks), task=tasks[0])
    (folder / CARD).write_text(text, encoding="utf-8")


def add_backend(source: Path, backend: str, folder: Path) -> None:
    """Copies the folder of a backend into an exported folder.

    An ONNX graph goes to GRAPHS, beside those of the other backends, and its manifest gets the
    backend's name; their tokenizers are the same. Tables have a folder of the backend's name.
    """
    graph = any(source.glob("*.onnx"))
    target = folder / (GRAPHS if graph else backend)
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        name = manifest_in_graphs(backend) if graph and file.name == MANIFEST else file.name
        shutil.copyfile(file, target / name)


def describe_exported(
    student: Student,
    tokenizer: PreTrainedTokenizerBase,
    hub: HubConfig,
    backends: Sequence[str],
    metrics: Mapping[str, float],
    folder: Path,
) -> None:
    """Writes the config, the tokenizer and the model card beside the backends.

    - backends: those that `add_backend` has added, of which there is at least one.
    - metrics: scores of the student on dev, and the speed of the backends.
    """
    fastest = min(backends, key=lambda backend: latency_ms(dict(metrics), backend))
    tasks: dict[str, Any] = student.config.tasks
    about = {
        "model_type": f"mkd-{student.config.model_type}",
        BACKEND: fastest,
        "backends": list(backends),
        "tasks": tasks,
    }
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    front, text = card_data(hub, tasks, metrics).to_yaml(), _card(hub, about, metrics, folder)
    (folder / CARD).write_text(f"---\n{front}\n---\n\n{text}", encoding="utf-8")


def card_data(
    hub: HubConfig, tasks: Mapping[str, Any], metrics: Mapping[str, float]
) -> ModelCardData:
    """Returns the front matter of the model card, with the scores on dev as its model-index.

    Scores are in points in `metrics`, and from 0 to 1 here, as the hub has them.
    """
    results = []
    for name, value in metrics.items():
        parsed = names.parsed_quality(name)
        if parsed is None or parsed[1] in (names.SCORE, names.CALIBRATION_ERROR):
            continue
        task, metric = parsed
        results.append(
            EvalResult(
                task_type="text-classification",
                dataset_type=hub.datasets[0] if len(hub.datasets) == 1 else task,
                dataset_name=task,
                dataset_split="dev",
                metric_type=HUB_METRICS.get(metric, metric),
                metric_name=metric,
                metric_value=round(value / 100, 4),
            )
        )
    return ModelCardData(
        license=hub.license or None,
        language=list(hub.language) or None,
        base_model=hub.base_model or None,
        datasets=list(hub.datasets) or None,
        pipeline_tag="text-classification",
        tags=["knowledge-distillation", "onnx", "mkd", *(["multi-task"] if len(tasks) > 1 else [])],
        model_name=hub.push or "student",
        eval_results=results or None,
    )


def _card(
    hub: HubConfig, about: Mapping[str, Any], metrics: Mapping[str, float], folder: Path
) -> str:
    """Returns the text of the model card below its front matter."""
    tasks: dict[str, Any] = about["tasks"]
    first = next(iter(tasks))
    text = '("a text", "another")' if tasks[first]["pair"] else '"a text"'
    where = hub.push or "FOLDER"
    of = f", a teacher that starts from `{hub.base_model}`" if hub.base_model else ""
    lines = [
        f"# {hub.push or 'A student of MKD'}",
        "",
        f"A small model for {', '.join(tasks)}. MKD has distilled it{of}.",
        "",
        "It is no model of `transformers`: `AutoModel` does not load it. MKD's runtime does, "
        "without PyTorch, and executes nothing from this folder:",
        "",
        "```python",
        "import mkd",
        "",
        f'student = mkd.Student.load("{where}")',
        f'student.predict([{text}], "{first}")',
        "```",
        "",
        "| task | texts | labels | score on dev |",
        "| :-- | --: | :-- | --: |",
    ]
    for task, head in tasks.items():
        score = metrics.get(names.quality(task))
        labels = ", ".join(head["labels"]) or "a number"
        shown = "-" if score is None else f"{score:.1f}"
        lines.append(f"| {task} | {1 + head['pair']} | {labels} | {shown} |".replace("\n", " "))
    lines += ["", "| backend | file | median ms a text, one thread | points lost |"]
    lines += ["| :-- | :-- | --: | --: |"]
    for backend in about["backends"]:
        file, time = _model_file(folder, backend), latency_ms(dict(metrics), backend)
        loss = metrics.get(names.export(backend, names.LOSS))
        lost = "-" if loss is None else f"{loss:.2f}"
        lines.append(f"| {backend} | `{file}` | {time:.2f} | {lost} |")
    lines += ["", f"The code above loads {about[BACKEND]}, the fastest."]
    lines += [
        "",
        "Scores are in points from 0 to 100, and those of the model in PyTorch, beside which a "
        "backend loses points; each task's is the mean of its metrics.",
    ]
    return "\n".join(lines) + "\n"


def _model_file(folder: Path, backend: str) -> str:
    """Returns the file of a backend's model, below an exported folder."""
    manifest = student_manifest(folder / backend)
    head = next(iter(read_manifest(manifest)["tasks"].values()))
    return f"{manifest.parent.name}/{head['graph']}"


def check_push(hub: HubConfig) -> None:
    """Raises ValueError if hub.push is no name, or if nobody is logged in to the hub."""
    if not hub.push:
        return
    if not HUB_NAME.fullmatch(hub.push):
        raise ValueError(f"hub.push is {hub.push!r}; allowed: USER/NAME, as on the hub")
    if get_token() is None:
        raise ValueError(
            f"hub.push is {hub.push!r}; allowed after a login to the Hugging Face hub, with "
            "`hf auth login`"
        )


def push(folder: Path, hub: HubConfig) -> str:
    """Sends the folder to the hub as hub.push, and returns its address.

    A repository that does not exist yet is created. The token is that of huggingface_hub's login.

    Raises ValueError if the hub refuses it.
    """
    api = HfApi()
    try:
        address = api.create_repo(hub.push, private=hub.private, exist_ok=True)
        api.upload_folder(
            repo_id=hub.push, folder_path=folder, commit_message="A student exported by MKD"
        )
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"hub.push is {hub.push!r}: the hub has not taken it ({reason}); the export is in "
            f"{folder}, to be sent with `hf upload {hub.push} {folder}`"
        ) from error
    return str(address)
