"""How pairs of a question and a text get their scores."""
