"""Looking at rankings."""
