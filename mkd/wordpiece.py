"""A tokenizer learnt from the tasks' own training text, for teachers that start from scratch."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from mkd.tasks import Task

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learn_wordpiece(tasks: list[Task], vocabulary: int, folder: Path) -> None:
    """A lower-casing WordPiece tokenizer with BERT's special tokens, learnt from all training texts.

    Added text has no part in it: the teacher stays the same, and is stored once, whatever text is added for it to label.
    """
    # The trainer numbers the letters in a random order and breaks ties between merges by those numbers, so a first
    # pass finds the letters, and a second one merges them under numbers that are fixed beforehand.
    letters = sorted(_word_pieces(tasks, 0, SPECIAL_TOKENS).keys() - set(SPECIAL_TOKENS))
    pieces = _word_pieces(tasks, vocabulary, SPECIAL_TOKENS + letters)
    tokenizer = _wordpiece(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.decoder = decoders.WordPiece()
    special = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    ).save_pretrained(folder)


def _wordpiece(model: models.WordPiece) -> Tokenizer:
    """The model behind BERT's rules for where words begin and end."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _word_pieces(tasks: list[Task], vocabulary: int, first: list[str]) -> dict[str, int]:
    """Word pieces and their ids, learnt from all training texts: `first`, all letters, then the most frequent merges."""
    tokenizer = _wordpiece(models.WordPiece(unk_token="[UNK]"))
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(_texts(tasks), trainer)
    return tokenizer.get_vocab()


def _texts(tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        for row in task.train.read():
            yield row.text_a
            if row.text_b is not None:
                yield row.text_b
