"""TF-IDF features of rows, for the benches that use linear classifiers."""

from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from mkd.tasks.task import Row


def fitted_words(rows: list[Row]) -> TfidfVectorizer:
    """Returns a vectoriser of words and pairs of words that occur in two texts or more."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    words.fit([text for row in rows for text in row[:2] if text is not None])
    return words


def features(rows: list[Row], words: TfidfVectorizer) -> csr_matrix:
    """Returns TF-IDF features of a text; of a pair, the differences and products of both texts."""
    first = words.transform([row.text_a for row in rows])
    if rows[0].text_b is None:
        return first
    second = words.transform([row.text_b for row in rows])
    return hstack([abs(first - second), first.multiply(second)]).tocsr()
