"""A tokenizer learnt from the tasks' own training text, for teachers that start from scratch."""

from collections.abc import Iterator, Set
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from mkd.tasks.task import Task

LONGEST_WORD = 100
"""Characters of the longest word: WordPiece takes a longer one for unknown as a whole."""
MARKS = 10
"""Of these characters so many may be marks of the word's last letter."""
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learn_wordpiece(tasks: list[Task], vocabulary: int, folder: Path) -> None:
    """A lower-casing WordPiece tokenizer with BERT's special tokens, learnt from all training texts.

    Added text has no part in it: the teacher stays the same, and is stored once, whatever text is added for it to label.
    """
    # The trainer numbers the letters in a random order and breaks ties between merges by those numbers, so a first
    # pass finds the letters, and a second one merges them under numbers that are fixed beforehand.
    letters = _at_all_places(_word_pieces(tasks, 0, SPECIAL_TOKENS).keys() - set(SPECIAL_TOKENS))
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
    """The model behind BERT's rules for where words begin and end, but for accents and long words.

    Accents, vowel signs and tone marks stay, as they tell words apart. A letter and its marks are one character where Unicode has
    one, however they were typed. What goes on for longer than a word may, as a sentence does in a script without spaces, is cut
    into words, before a letter rather than before its marks.
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
    """The letters of the pieces as what a word begins with and as what it goes on with, of those that words are made of.

    A letter that was seen in the one place alone would make a word unknown that has it in the other.
    """
    rules = _wordpiece(models.WordPiece())
    letters = {piece.removeprefix("##") for piece in pieces}
    inside = {
        letter for letter in letters if len(rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(letter * 2))) == 1
    }
    return sorted(letters | {f"##{letter}" for letter in inside})


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
