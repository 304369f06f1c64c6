"""Words that a tokenizer learnt from the tasks' texts distinguishes, in several scripts."""

import unicodedata
from pathlib import Path

import pytest

from mkd.storage.versions import STAGES, Stage
from mkd.tasks.task import Row, Task
from tests.support.tiny import SINGLE, Tokenizer, make_tokenizer, split

TWINS = [
    ("schön", "schon"), ("año", "ano"), ("ponieważ", "poniewaz"), ("мой", "мои"), ("हिंदी", "हद"),
    ("ปา", "ป่า"), ("ma", "mà"), ("กิน", "กน"),
]  # fmt: skip
"""Words that differ only in accents, vowel signs or tone marks."""
THAI = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์เช่นเดียวกับภาษาจีนและออกเสียงแยกคำต่อคำ"
CHINESE = "这部电影很好看我非常喜欢它的音乐和演员"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    texts = [word for pair in TWINS for word in pair] + [
        THAI,
        CHINESE,
        "the film",
        "가나다",
        "straße",
        "x" * 30,
        "http",
    ]
    rows = [Row(text, None, float(place % 2)) for place, text in enumerate(texts * 3)]
    return make_tokenizer(
        tmp_path_factory.mktemp("cache"), [Task("single", SINGLE, split(rows), {})]
    )


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids_of_text: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids_of_text


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_words_that_differ_only_in_marks_differ(tokenizer: Tokenizer, one: str, other: str) -> None:
    assert ids(tokenizer, one) != ids(tokenizer, other)
    assert tokenizer.unk_token_id not in ids(tokenizer, one) + ids(tokenizer, other)
    assert tokenizer.decode(ids(tokenizer, one)) == unicodedata.normalize("NFC", one)


@pytest.mark.parametrize("word", ["schön", "ponieważ", "가나다", "мой"])
def test_composed_and_decomposed_marks_are_the_same(tokenizer: Tokenizer, word: str) -> None:
    apart, together = unicodedata.normalize("NFD", word), unicodedata.normalize("NFC", word)
    assert apart != together and ids(tokenizer, apart) == ids(tokenizer, together)


def test_case_makes_no_difference(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "SCHÖN The FILM МОЙ") == ids(tokenizer, "schön the film мой")


@pytest.mark.parametrize("text", [THAI * 3, "x" * 101, "x" * 5000, "schön" * 40, "http" * 30])
def test_a_long_word_is_not_an_unknown_token(tokenizer: Tokenizer, text: str) -> None:
    ids_of_word = ids(tokenizer, text)
    assert tokenizer.unk_token_id not in ids_of_word and len(ids_of_word) > 1
    assert str(tokenizer.decode(ids_of_word)).replace(" ", "") == text


def test_without_spaces_a_cut_is_not_before_a_mark(tokenizer: Tokenizer) -> None:
    words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("ที่" * 200)
    assert "".join(word for word, _ in words) == "ที่" * 200 and len(words) == 7
    assert all(len(word) <= 100 and unicodedata.category(word[0]) == "Lo" for word, _ in words)


def test_a_long_sequence_of_marks_is_cut_too(tokenizer: Tokenizer) -> None:
    words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a" + "\u0301" * 500)
    assert max(len(word) for word, _ in words) <= 100 and sum(len(word) for word, _ in words) == 501


def test_each_chinese_character_is_a_word(tokenizer: Tokenizer) -> None:
    assert len(ids(tokenizer, CHINESE)) == len(CHINESE)
    assert tokenizer.unk_token_id not in ids(tokenizer, CHINESE)


def test_ordinary_text_is_split_into_words_as_in_bert(tokenizer: Tokenizer) -> None:
    words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(
        "don't (the film), 3.5 stars!"
    )
    assert [word for word, _ in words] == [
        "don",
        "'",
        "t",
        "(",
        "the",
        "film",
        ")",
        ",",
        "3",
        ".",
        "5",
        "stars",
        "!",
    ]


def test_other_rules_make_another_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task("single", SINGLE, split([Row("a film", None, 1.0)]), {})
    make_tokenizer(tmp_path, [task])
    monkeypatch.setitem(STAGES, "tokenizers", Stage(0))
    make_tokenizer(tmp_path, [task])
    assert len([path for path in (tmp_path / "tokenizers").iterdir() if path.is_dir()]) == 2
