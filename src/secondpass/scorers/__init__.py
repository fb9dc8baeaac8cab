"""Scorers around other scorers, remote scorers, and the loading of models."""
