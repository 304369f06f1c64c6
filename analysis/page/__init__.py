"""The report's page: its content as named tuples, and its HTML from the files in template/."""
