"""What scripts/soak and scripts/load are made of."""
