"""The MLflow model of a student (or teacher): MLflow runs this file to load it; its weights come as safetensors."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from mkd.checkpoints import load_tokenizer
from mkd.evaluate import Prediction, predict_texts, text_logits
from mkd.students import load_model


class StudentModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Answers raw texts: columns text and, for tasks of pairs, text_pair; the task comes as the param `task`."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["student"])
        self.model = load_model(folder)
        self.tokenizer = load_tokenizer(folder, "the logged model")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a text: its label and that label's probability, those of all labels, and what is wrong with the row.

        Regression: no label, the score, no probabilities. With the param `logits`: these alone, for regression the score.
        """
        params = params or {}
        task = params.get("task") or next(iter(self.model.config.tasks))
        columns = ["text", "text_pair"] if self.model.config.tasks.get(task, {}).get("pair") else ["text"]
        texts = model_input.reindex(columns=columns)
        whole = texts.notna().all(axis=1).tolist()
        known = [texts.loc[whole, column].tolist() for column in columns]
        asked = (self.model, self.tokenizer, task, known[0], known[1] if len(columns) == 2 else None)
        if params.get("logits"):
            return pd.DataFrame({"logits": _spread(text_logits(*asked).tolist(), whole, None)})
        nothing = Prediction(None, None, [])  # type: ignore[arg-type]
        answers = pd.DataFrame(_spread(predict_texts(*asked), whole, nothing), columns=list(Prediction._fields))
        return answers.assign(error=[None if ok else f"{' or '.join(columns)} is missing" for ok in whole])


def _spread(answers: list[Any], whole: list[bool], nothing: Any) -> list[Any]:
    """The answers, in their order, to the rows that are whole, and `nothing` to the others."""
    left = iter(answers)
    return [next(left) if ok else nothing for ok in whole]


mlflow.models.set_model(StudentModel())
