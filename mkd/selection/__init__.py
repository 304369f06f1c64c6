"""Which training rows are learnt from and which select: groups of overlapping rows stay on one side."""
