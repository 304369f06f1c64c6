"""The encoder, which must give the same ids as its tokenizer for every text."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase

from mkd.runtime import encoding
from mkd.runtime.encoding import Encoder
from mkd.runtime.layout import truncated
from mkd.storage.pretrained import load_tokenizer
from mkd.tokenization.tokenise import backend_tokenizer
from tests.support.tiny import MINILM

LETTERS = [chr(number) for number in range(1, 128)] + list("   aabc..[]'#\t\n") + list("äß漢 ☕")
"""All of ASCII, with some characters more often, and some other characters."""
PIECES = ["[PAD]", "[UNK]", "[MASK]", "a", "b", "##b", "##a", "c", ".", "'", "[", "]", "ab", "7"]


def wordpiece(lowercase: bool = True) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[MASK]"])
    return tokenizer


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    drawn = ["".join(rng.choices(LETTERS, k=rng.randint(0, 12))) for _ in range(count)]
    return [*drawn, "", " ", "ab [MASK] ab", "ab[MASK]", "AB Ab.ab", "a\x00b", "a\x0bb", "a" * 200]


def check_same_ids(encode: Encoder, tokenizer: Tokenizer, texts_to_encode: list[str]) -> None:
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts_to_encode]
    assert encode(texts_to_encode) == expected
    assert [encode([text])[0] for text in texts_to_encode] == expected


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("lowercase", [False, True])
def test_ids_are_those_of_the_tokenizer_for_any_text(lowercase: bool, parallel: bool) -> None:
    tokenizer = wordpiece(lowercase)
    encode = Encoder(tokenizer, parallel)
    assert encode.words is not None
    check_same_ids(encode, tokenizer, texts(3000))


def test_a_tokenizer_learnt_from_the_tasks_is_encoded_by_words(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    backend = backend_tokenizer(tokenizer)
    encode = Encoder(backend, parallel=False)
    assert encode.words is not None
    check_same_ids(encode, backend, texts(1000))


def test_tokenizers_with_other_rules_encode_whole_texts() -> None:
    across, prefixed, added = wordpiece(), wordpiece(), wordpiece()
    across.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    prefixed.normalizer = normalizers.Prepend("a")
    # It is matched in lower-case text: the first letter of the raw text cannot rule it out.
    added.add_tokens([AddedToken("ab c", normalized=True)])
    for tokenizer in (across, prefixed, added):
        encode = Encoder(tokenizer, parallel=False)
        assert encode.words is None
        check_same_ids(encode, tokenizer, texts(300))


def test_the_cache_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST_WORDS", 3)
    tokenizer = wordpiece()
    check_same_ids(
        Encoder(tokenizer, parallel=False), tokenizer, ["a b c ab 7", "ab c b a", "7 7 b"]
    )


WORDS = [
    "a", "ab", "Ärger", "a\u0301e\u0308", "漢字" * 9, "👩\u200d👩\u200d👧", "🙂🙂", "x" * 150,
    "ab.ba", "don't", "[MASK]", "ﬁne", "naïve", "-", "bab" * 40, "ไทย" * 20,
]  # fmt: skip
GAPS = [" ", "  ", "\n", "\t ", "\u00a0", " \u0301", "\r\n", "\u3000"]


def long_texts(count: int) -> list[str]:
    rng = random.Random(1)
    return [
        "".join(rng.choice(WORDS) + rng.choice(GAPS) for _ in range(rng.randint(0, 60)))
        for _ in range(count)
    ]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(long_texts(50), trainer)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, unk_token="?", show_progress=False)
    tokenizer.train_from_iterator(long_texts(50), trainer)
    return tokenizer


MAKERS = {
    "word pieces": wordpiece,
    "MiniLM": lambda: backend_tokenizer(load_tokenizer(MINILM, "")),
    "bytes": byte_level,
    "unigrams": unigram,
}


@pytest.mark.parametrize("max_length", [1, 8, 9, 40])
@pytest.mark.parametrize("name", MAKERS)
def test_cutting_a_long_text_first_does_not_change_what_a_model_sees(
    name: str, max_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CHARACTERS", 1)  # many cuts are too short and are repeated
    tokenizer = MAKERS[name]()
    encode, a, b = Encoder(tokenizer, False), long_texts(60), long_texts(120)[60:]
    for sides in ([a], [a, b], [b, a]):
        beginnings = encoding.encode_beginnings(encode, sides, max_length)
        whole = truncated([encode(side) for side in sides], max_length)
        for kept, expected in zip(truncated(beginnings, max_length), whole, strict=True):
            np.testing.assert_array_equal(kept.ids, expected.ids)
            np.testing.assert_array_equal(kept.offsets, expected.offsets)


@pytest.mark.parametrize("max_length", [8, 9, 10, 11])
@pytest.mark.parametrize("words", [(90, 91), (91, 90), (90, 30), (30, 90)])
def test_the_odd_token_of_two_huge_texts_goes_to_the_longer(
    words: tuple[int, int], max_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CHARACTERS", 1)
    monkeypatch.setattr(encoding, "LONG", 40)
    encode, sides = Encoder(wordpiece(), False), [["ab b " * count] for count in words]
    (kept,) = truncated(encoding.encode_beginnings(encode, sides, max_length), max_length)[:1]
    (expected,) = truncated([encode(side) for side in sides], max_length)[:1]
    np.testing.assert_array_equal(kept.ids, expected.ids)
    np.testing.assert_array_equal(kept.offsets, expected.offsets)


@pytest.mark.parametrize("text", ["good film " * 10**5, "x" * 10**6, " " * 10**6])
def test_a_huge_text_is_not_encoded_whole(text: str) -> None:
    seen: list[int] = []

    def encode(texts: Sequence[str]) -> list[list[int]]:
        seen.append(max(map(len, texts)))
        return [list(range(10**4)) for _ in texts]

    encoding.encode_beginnings(encode, [[text]], 128)
    encoding.encode_beginnings(encode, [[text + " a b"], [text]], 128)
    assert max(seen) <= 2 * encoding.LONG


def test_a_text_with_few_tokens_in_its_beginning_is_read_further() -> None:
    seen: list[int] = []

    def encode(texts: Sequence[str]) -> list[list[int]]:
        seen.extend(map(len, texts))
        return [list(range(len(text.split()))) for text in texts]

    encoding.encode_beginnings(encode, [["a\n" + " " * 10**6]], 128)
    assert seen[-1] >= 10**6 and seen == sorted(seen) and len(seen) < 10
