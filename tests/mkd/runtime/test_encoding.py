"""The encoder answers as its tokenizer does, whatever the text."""

import random

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from mkd.runtime import encoding
from mkd.runtime.encoding import Encoder
from mkd.tokenization.tokenise import backend_tokenizer

LETTERS = [chr(number) for number in range(1, 128)] + list("   aabc..[]'#\t\n") + list("äß漢 ☕")
"""All of ASCII; some of it more often, and some characters beyond it."""
PIECES = ["[PAD]", "[UNK]", "[MASK]", "a", "b", "##b", "##a", "c", ".", "'", "[", "]", "ab", "7"]


def wordpiece(lowercase: bool = True) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[MASK]"])
    return tokenizer


def texts(count: int) -> list[str]:
    draw = random.Random(0)
    drawn = ["".join(draw.choices(LETTERS, k=draw.randint(0, 12))) for _ in range(count)]
    return [*drawn, "", " ", "ab [MASK] ab", "ab[MASK]", "AB Ab.ab", "a\x00b", "a\x0bb", "a" * 200]


def same(encode: Encoder, tokenizer: Tokenizer, given: list[str]) -> None:
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in given]
    assert encode(given) == expected
    assert [encode([text])[0] for text in given] == expected


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("lowercase", [False, True])
def test_ids_are_the_tokenizers_whatever_the_text(lowercase: bool, parallel: bool) -> None:
    tokenizer = wordpiece(lowercase)
    encode = Encoder(tokenizer, parallel)
    assert encode.words is not None
    same(encode, tokenizer, texts(3000))


def test_a_tokenizer_learnt_from_the_tasks_is_encoded_by_words(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    backend = backend_tokenizer(tokenizer)
    encode = Encoder(backend, parallel=False)
    assert encode.words is not None
    same(encode, backend, texts(1000))


def test_other_rules_are_left_to_the_tokenizer() -> None:
    across, prefixed, added = wordpiece(), wordpiece(), wordpiece()
    across.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    prefixed.normalizer = normalizers.Prepend("a")
    # It is matched after the text is in lower case, where its first letter says nothing.
    added.add_tokens([AddedToken("ab c", normalized=True)])
    for tokenizer in (across, prefixed, added):
        encode = Encoder(tokenizer, parallel=False)
        assert encode.words is None
        same(encode, tokenizer, texts(300))


def test_the_cache_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST_WORDS", 3)
    tokenizer = wordpiece()
    same(Encoder(tokenizer, parallel=False), tokenizer, ["a b c ab 7", "ab c b a", "7 7 b"])
