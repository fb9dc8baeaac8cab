"""Forms of a ranking for people and programs: plain text and plain data."""
