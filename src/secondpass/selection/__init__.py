"""Which candidates the reader sees: pure functions over records, run in one order by ``select``."""
