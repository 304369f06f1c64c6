"""Models in MLflow: logging with card and signature, and registration."""

import importlib.metadata
import json
import logging
from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array
from packaging.version import Version

from experiments.settings import DistillSettings, FinetuneSettings, RegistryConfig, TeacherSettings
from experiments.tracking.card import model_card, version_description
from experiments.tracking.store import StoreError
from mkd import names
from mkd.result import Result
from mkd.storage.addresses import reason, without_passwords

RUNTIME_PACKAGES = ("numpy", "onnxruntime", "tokenizers", "pandas", "mlflow")
"""Packages that a logged model imports if it is an export."""
TORCH_PACKAGES = (
    *RUNTIME_PACKAGES,
    "torch",
    "transformers",
    "safetensors",
    "huggingface-hub",
    "scipy",
    "scikit-learn",
    "filelock",
    "accelerate",
)
"""Packages that a logged model imports if torch is its fastest backend."""


MODEL = "student"
"""Name of a run's logged model."""


def log_model(
    config: DistillSettings | TeacherSettings | FinetuneSettings, run: Run, result: Result
) -> str:
    """Logs the model of the open run as a pyfunc from code, with its card. Returns its id.

    No pickle is used: the source of `mkd` is logged with the model. If registry.name is set, the
    model becomes a version of that registered model, and registry.alias points to it.
    """
    fields: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "label", required=False),
        ColSpec(DataType.double, "score", required=False),
        ColSpec(Array(DataType.double), "probabilities"),
        ColSpec(DataType.string, "error", required=False),
    ]
    fields.append(ColSpec(DataType.boolean, "answered", required=False))
    heads = json.loads(Path(result.folder, "config.json").read_text(encoding="utf-8"))["tasks"]
    if any(head.get("multilabel") for head in heads.values()):
        fields.append(ColSpec(Array(DataType.string), "labels", required=False))
    outputs = Schema(fields)
    # One signature serves single texts and pairs, so the second text is optional.
    inputs = Schema(
        [ColSpec(DataType.string, "text"), ColSpec(DataType.string, "text_pair", required=False)]
    )
    first = result.datasets[0].task
    params = ParamSchema(
        [
            ParamSpec("task", DataType.string, first),
            ParamSpec("logits", DataType.boolean, False),
            ParamSpec("min_confidence", DataType.double, 0.0),
        ]
    )
    text = model_card(config.seed, config.data.max_length, result, run.info.run_id)
    mlflow.log_text(text, "model_card.md")
    file = Path(result.folder).with_name("MODEL_CARD.md")
    file.write_text(text, encoding="utf-8")
    model = _logged_earlier(run) or _log(
        result, file, first, ModelSignature(inputs, outputs, params)
    )
    if config.registry.name:
        description = version_description(result, run.info.run_id)
        _register(config.registry, run.info.run_id, f"models:/{model}", description)
    return model


def check_registry() -> None:
    """Raises StoreError if the model registry is another store that cannot be used."""
    uri = mlflow.get_registry_uri()
    if uri == mlflow.get_tracking_uri():
        return
    try:
        mlflow.MlflowClient().search_registered_models(max_results=1)
    except MlflowException as error:
        raise StoreError(
            f"MLFLOW_REGISTRY_URI is {without_passwords(uri)}: {reason(error)}"
        ) from error


def _logged_earlier(run: Run) -> str:
    """Returns the id of the model that an earlier start of the run has logged, or "".

    Incomplete ones, which a killed start has left, are deleted with their files.
    """
    client = mlflow.MlflowClient()
    outputs = client.get_run(run.info.run_id).outputs
    linked = {each.model_id for each in outputs.model_outputs} if outputs else set()
    models = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}' AND name = '{MODEL}'"
    )
    ready = [
        each
        for each in models
        if each.status == LoggedModelStatus.READY and each.model_id in linked
    ]
    for each in models:
        if each not in ready[:1]:
            client.delete_logged_model(each.model_id)
            # MLflow would keep the files of a deleted model until `mlflow gc`.
            files = get_artifact_repository(each.artifact_location)
            files.delete_artifacts()  # type: ignore[no-untyped-call]
            with suppress(OSError):  # a store elsewhere has no such folder
                Path(each.artifact_location.removeprefix("file://")).parent.rmdir()
    return str(ready[0].model_id) if ready else ""


def _log(result: Result, card: Path, first: str, signature: ModelSignature) -> str:
    """Logs the model and returns its id. first: the task that it answers by default."""
    packages = RUNTIME_PACKAGES if result.exported else TORCH_PACKAGES
    logged = mlflow.pyfunc.log_model(
        name=MODEL,
        python_model=str(Path(__file__).with_name("student_model.py")),
        artifacts={"student": result.folder}
        | {"card": str(card)}
        | ({"exported": result.exported} if result.exported else {}),
        code_paths=[str(Path(names.__file__).parent)],
        signature=signature,
        input_example=(
            pd.DataFrame({"text": ["a fine film"], "text_pair": ["a good film"]}),
            {"task": first},
        ),
        # Package registries do not have local versions, such as 2.5.0+cpu.
        pip_requirements=[
            f"{name}=={Version(importlib.metadata.version(name)).public}" for name in packages
        ],
    )
    return str(logged.model_id)


def _register(registry: RegistryConfig, run_id: str, uri: str, description: str) -> None:
    """Registers the model as a new version, and creates the registered model if needed.

    A version that an earlier start of the run has made is used again.
    """
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.ERROR)
    client = mlflow.MlflowClient()
    known = client.search_model_versions(f"run_id = '{run_id}'")
    version = next(
        (each for each in known if each.name == registry.name), None
    ) or mlflow.register_model(uri, registry.name)
    client.update_model_version(registry.name, version.version, description)
    if registry.alias:
        client.set_registered_model_alias(registry.name, registry.alias, version.version)
    place = f"@{registry.alias}" if registry.alias else f"/{version.version}"
    print(f"registered: models:/{registry.name}{place}")
