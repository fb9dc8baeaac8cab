"""Sample data of the demo and the examples: a bi-encoder, fetched once, and Python's language reference."""
