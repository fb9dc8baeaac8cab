"""Selection: which candidates are kept, in which order, within which context budget; pure functions over records."""
