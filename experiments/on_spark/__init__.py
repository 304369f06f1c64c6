"""What works on Spark: a corpus labelled, a search."""
