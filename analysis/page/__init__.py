"""The report's page: its content as plain tuples, and the HTML that template/ makes of it."""
