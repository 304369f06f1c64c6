"""Token ids of texts: from a cache of words if words are encoded independently, else from a
tokenizer."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Tokenizer

MOST_WORDS = 1 << 16
"""Maximum number of words in the cache. It is emptied when it is full."""
ALPHANUMERIC = "a-zA-Z0-9"

Words = Callable[[str], list[int] | None]
"""Returns the token ids of a text, without special tokens, or None if only the tokenizer can encode
it."""


class Encoder:
    """Encodes texts, without special tokens, much faster than its tokenizer where possible.

    BERT's tokenizers split a text at white space and punctuation first, and then encode each word
    on its own. The ids of a word are therefore computed once and kept. This holds for plain ASCII
    text without control characters and without added tokens such as `[MASK]`; the tokenizer itself
    encodes all other texts, and all texts if its rules are not BERT's.

    - `parallel`: whether the tokenizer may use several threads.
    """

    def __init__(self, tokenizer: Tokenizer, parallel: bool) -> None:
        self.tokenizer = tokenizer
        self.parallel = parallel
        self.words = _by_words(tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text. The lists must not be changed."""
        if self.words is None:
            return encode_all(self.tokenizer, texts, self.parallel)
        ids_of_texts = [self.words(text) for text in texts]
        if None in ids_of_texts:
            rest = [place for place, ids in enumerate(ids_of_texts) if ids is None]
            encoded = encode_all(self.tokenizer, [texts[place] for place in rest], self.parallel)
            for place, ids in zip(rest, encoded, strict=True):
                ids_of_texts[place] = ids
        return [ids for ids in ids_of_texts if ids is not None]


def encode_all(
    tokenizer: Tokenizer, texts: Sequence[str], parallel: bool = True
) -> list[list[int]]:
    """Returns the token ids of each text, without special tokens.

    - `parallel`: whether the tokenizer uses its threads.
    """
    if parallel:
        batch = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in batch]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def _by_words(tokenizer: Tokenizer) -> Words | None:
    """Returns a function that encodes a text from a cache of words; None if no text allows it."""
    rules = json.loads(tokenizer.to_str())
    if not _splits_as_bert(rules):
        return None
    firsts = {re.escape(token["content"][:1]) for token in rules["added_tokens"]}
    # Only printable ASCII, tab, line feed and carriage return are safe. Added tokens are found
    # before the text is split, so a text with the first character of one is not safe either.
    unsafe = re.compile("|".join(["[^\t\n\r -~]", *sorted(firsts)])).search
    split = re.compile(f"[{ALPHANUMERIC}]+|[^\\s{ALPHANUMERIC}]").findall
    known: dict[str, list[int]] = {}

    def by_words(text: str) -> list[int] | None:
        if unsafe(text):
            return None
        text_ids: list[int] = []
        for word in split(text):
            ids = known.get(word)
            if ids is None:
                if len(known) >= MOST_WORDS:
                    known.clear()
                ids = known[word] = tokenizer.encode(word, add_special_tokens=False).ids
            text_ids += ids
        return text_ids

    return by_words


def _splits_as_bert(rules: dict[str, Any]) -> bool:
    """Returns whether ASCII words and punctuation are encoded independently, as in BERT.

    After BERT's split a further one, as in tokenizers that this project learns, is within a word.
    """
    normalizers = _sequence(rules["normalizer"], "normalizers")
    splits = _sequence(rules["pre_tokenizer"], "pretokenizers")
    return (
        # These two change no ASCII text but by its case.
        {each["type"] for each in normalizers} <= {"BertNormalizer", "NFC"}
        and [each["type"] for each in splits[:1]] == ["BertPreTokenizer"]
        and {each["type"] for each in splits[1:]} <= {"Split"}
        and all(token["content"] and not token["normalized"] for token in rules["added_tokens"])
        and rules["model"]["type"] == "WordPiece"
    )


def _sequence(rule: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if rule is None:
        return []
    return list(rule[inner]) if rule["type"] == "Sequence" else [rule]


CHARACTERS = 8
"""Number of characters of a text that are encoded first, per token that a model can take."""
LONG = 1 << 16
"""Maximum length of a word in characters. A text is cut within a longer word."""
WHITE = " \t\r\n"
_WORD_END = re.compile(rf"(?<=\S)[{WHITE}]")


def encode_beginnings(
    encode: Callable[[Sequence[str]], list[list[int]]],
    sides: Sequence[Sequence[str]],
    max_length: int,
) -> list[list[list[int]]]:
    """Returns the token ids of rows as `encode` does, but only the first ids of long texts.

    - `sides`: the first texts of all rows, and for pairs the second texts.
    - `max_length`: a model's maximum number of tokens.

    A model sees the same tokens as with the whole texts. A text is cut at the end of a word,
    because tokenizers encode words on their own. It is cut later if it then has too few tokens.
    Only a word of more than LONG characters is itself cut.
    """
    kept = max_length + 2
    limit = CHARACTERS * kept
    ids = [list(_first_ids(encode, side, limit, kept)) for side in sides]
    if len(sides) == 2:
        # The odd last token of a joined sequence goes to the longer text, so that it has to be
        # known which one that is.
        for row, (a, b) in enumerate(zip(*sides, strict=True)):
            cut = len(a) > limit or len(b) > limit
            if cut and min(len(side[row]) for side in ids) >= kept:
                most = max(limit, LONG)
                first, second = (encode([_beginning(text, most)])[0] for text in (a, b))
                if len(a) > most or len(b) > most:
                    first, second = first[: kept + (len(a) > len(b))], second[:kept]
                ids[0][row], ids[1][row] = first, second
    return ids


def _first_ids(
    encode: Callable[[Sequence[str]], list[list[int]]],
    texts: Sequence[str],
    limit: int,
    kept: int,
) -> list[list[int]]:
    """Returns the ids of each text; of a long text, at least the first `kept`."""
    if max(map(len, texts), default=0) <= limit:
        return encode(texts)
    ids = list(encode([_beginning(text, limit) for text in texts]))
    for place, text in enumerate(texts):
        most = limit
        while len(ids[place]) < kept and len(text) > most:
            most *= 8
            ids[place] = encode([_beginning(text, most)])[0]
    return ids


def _beginning(text: str, limit: int) -> str:
    """Returns about the first `limit` characters of a text, up to the end of a word."""
    if len(text) <= limit:
        return text
    for end in range(limit, 0, -1):
        if text[end] in WHITE and not text[end - 1].isspace():
            return text[:end]
    end_of_word = _WORD_END.search(text, limit, limit + LONG)
    return text[: end_of_word.start() if end_of_word else limit + LONG]
