"""Engines, one module each with its library imported at the top; ``scoring.load`` imports them by name."""
