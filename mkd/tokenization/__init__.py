"""Rows of text as token ids: tokenizers, vocabularies, stores of tokens."""
