"""Programs over secondpass and the ecosystem's own parts, one for each system of the field's literature."""
