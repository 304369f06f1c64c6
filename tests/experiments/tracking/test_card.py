"""The model card, from metrics alone."""

from experiments.tracking.card import model_card
from mkd.result import Result

TIMES = {
    "speed/onnx/b1-text-t1/p50_ms": 0.37,
    "speed/onnx/b1-l128-t1/p50_ms": 0.05,
    "speed/torch/b1-text-t1/p50_ms": 0.41,
    "speed/torch/b1-l128-t1/p50_ms": 0.04,
    "speed/onnx/b1-text-t1/ratio": 3.0,
    "speed/onnx/b1-l128-t1/ratio": 28.8,
    "size/parameters": 9e6,
    "size/parameters_without_embeddings": 1e6,
    "size/bytes": 36e6,
    "size/flops": 2e8,
}


def test_a_model_card_shows_the_latency_of_a_text_with_its_tokenization() -> None:
    """The fastest backend and the ratio to the teacher are also those for a text."""
    result = Result(TIMES, [], [], {"cpu": "x"}, "bag-8", "bert", "k", "folder")
    card = model_card(0, 128, result, "run")
    assert "0.37 ms a text in onnx on one thread (b1-text-t1)" in card
    summary = card.partition("## ")[0]
    assert "0.05" not in summary and "0.04" not in summary and "28.8" not in summary
