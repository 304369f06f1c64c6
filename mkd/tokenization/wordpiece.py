"""A WordPiece tokenizer learnt from the tasks' training text, for teachers trained from scratch."""

from collections.abc import Iterator, Set
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from mkd.tasks.task import Task

LONGEST_WORD = 100
"""Maximum number of characters in a word. WordPiece takes a longer word as unknown."""
MARKS = 10
"""Of these characters, the number that may be combining marks of the word's last letter."""
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learn_wordpiece(tasks: list[Task], vocabulary: int, folder: Path) -> None:
    """Learns a lower-casing WordPiece tokenizer with BERT's special tokens and saves it.

    - `vocabulary`: number of word pieces.

    It is learnt from the text of all train splits. Added text (transfer text, augmented rows) is
    not used, so that the teacher and its cache entry stay the same whatever text it labels.
    """
    # The trainer numbers the letters in random order and uses these numbers to break ties between
    # merges. To be reproducible, a first pass collects the letters, and a second one learns merges
    # with fixed numbers.
    letters = _at_all_places(_word_pieces(tasks, 0, SPECIAL_TOKENS).keys() - set(SPECIAL_TOKENS))
    pieces = _word_pieces(tasks, vocabulary, SPECIAL_TOKENS + letters)
    tokenizer = _wordpiece(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.decoder = decoders.WordPiece()
    special = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    ).save_pretrained(folder)


def _wordpiece(model: models.WordPiece) -> Tokenizer:
    """Returns the model with BERT's word boundaries, except for accents and long words.

    Accents, vowel signs and tone marks are kept, because they distinguish words. Unicode's NFC form
    joins a letter and its marks into one character where such a character exists. A run of text
    above the maximum length of a word, for example a sentence in Thai, is split into words. It is
    split before a letter, not before its marks.
    """
    tokenizer = Tokenizer(model)
    bert = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), bert])
    stretch = Regex(rf"[\s\S]{{1,{LONGEST_WORD - MARKS}}}\p{{M}}{{0,{MARKS}}}")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(stretch, "isolated")]
    )
    return tokenizer


def _at_all_places(pieces: Set[str]) -> list[str]:
    """Returns the letters of the pieces as word beginnings and as continuations (`##`).

    A letter seen in only one of these positions would make a word with it in the other one unknown.
    Punctuation has no continuation.
    """
    rules = _wordpiece(models.WordPiece())
    letters = {piece.removeprefix("##") for piece in pieces}
    # Punctuation is a word by itself, so that two of it are two words; a letter of a word is not.
    inside = {
        letter
        for letter in letters
        if len(rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(letter * 2)))
        == 1
    }
    return sorted(letters | {f"##{letter}" for letter in inside})


def _word_pieces(tasks: list[Task], vocabulary: int, first: list[str]) -> dict[str, int]:
    """Learns word pieces from all training texts, and returns their ids.

    `first` come first, then all letters, then the most frequent merges.
    """
    tokenizer = _wordpiece(models.WordPiece(unk_token="[UNK]"))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=first, show_progress=False
    )
    tokenizer.train_from_iterator(_texts(tasks), trainer)
    return tokenizer.get_vocab()


def _texts(tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        for row in task.train.read():
            yield row.text_a
            if row.text_b is not None:
                yield row.text_b
