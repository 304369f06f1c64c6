"""The selection split: training rows that choose the best step, in groups of overlapping rows."""
