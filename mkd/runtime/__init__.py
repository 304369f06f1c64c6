"""A student at work, without torch: texts in, answers out."""
