"""Tokenization: rows of text as token ids, token stores, vocabularies and learnt tokenizers."""
