"""The MLflow model of a student (or teacher): MLflow runs this file to load it; its weights come as safetensors."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from mkd.checkpoints import load_tokenizer
from mkd.evaluate import predict_texts
from mkd.students import load_model


class StudentModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Answers raw texts: columns text and, for tasks of pairs, text_pair; the task comes as the param `task`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["student"])
        self.model = load_model(folder)
        self.tokenizer = load_tokenizer(folder, "the logged model")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a text: its label and that label's probability, or, for regression, no label and the score."""
        task = (params or {}).get("task") or next(iter(self.model.config.tasks))
        pair = self.model.config.tasks.get(task, {}).get("pair", False)
        if pair and ("text_pair" not in model_input or model_input["text_pair"].isna().any()):
            raise ValueError(f"task {task} takes two texts a row: text_pair is missing")
        pairs = model_input["text_pair"].tolist() if pair else None
        return pd.DataFrame(predict_texts(self.model, self.tokenizer, task, model_input["text"].tolist(), pairs))


mlflow.models.set_model(StudentModel())
