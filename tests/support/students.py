"""Tiny students of each kind, and their inputs and logits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mkd.config import StudentConfig
from mkd.students import Student, make_student
from mkd.tokenization.tokens import Inputs, TaskData, layout_of
from mkd.training.batches import gather_inputs
from tests.support.tiny import Datas, Tokenizer

BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=6, ngrams=2, buckets=50)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=2, heads=2)
FACTORISED = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2, embedding=6)
BAG = StudentConfig(kind="bag", hidden=8, embedding=6, layers=2, ngrams=3, buckets=50)
MAX = replace(BILSTM, attention=False, words=False)
FIRST = replace(TRANSFORMER, pooling="first")
ALL = pytest.mark.parametrize(
    "config", [BILSTM, MAX, TRANSFORMER, FIRST, FACTORISED, BAG], ids=lambda config: config.name
)


def student_of(config: StudentConfig, datas: Datas, tokenizer: Tokenizer) -> Student:
    torch.manual_seed(0)
    student = make_student(config, datas, len(tokenizer), 32, None)
    student.train(False)
    return student


def inputs_of(student: Student, data: TaskData, tokenizer: Tokenizer, rows: list[int]) -> Inputs:
    return gather_inputs(data.train, np.array(rows), layout_of(tokenizer, student.joined, 32))


def logits(student: Student, inputs: Inputs, task: str) -> torch.Tensor:
    with torch.inference_mode():
        model: torch.Tensor = student(inputs, task)
    return model
