"""The demo: real questions, a real vector store and real models on one machine, with nothing to set up."""
