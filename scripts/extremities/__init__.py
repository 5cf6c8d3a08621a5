"""What scripts/extremes is made of."""
