"""What if: the real inputs of a period, decided again under other rules or another network."""
