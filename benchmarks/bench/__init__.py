"""Rerankers on one machine, in one run, with quality beside every speed."""
