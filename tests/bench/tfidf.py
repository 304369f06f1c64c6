"""Rows as words, for the classifiers of benches that need no teacher."""

from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from mkd.tasks.task import Row


def fitted_words(rows: list[Row]) -> TfidfVectorizer:
    """Returns words and pairs of words that occur in two texts of the rows or more."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    words.fit([text for row in rows for text in row[:2] if text is not None])
    return words


def features(rows: list[Row], words: TfidfVectorizer) -> csr_matrix:
    """Returns the words of a text; of a pair, what differs and what is in both."""
    first = words.transform([row.text_a for row in rows])
    if rows[0].text_b is None:
        return first
    second = words.transform([row.text_b for row in rows])
    return hstack([abs(first - second), first.multiply(second)]).tocsr()
