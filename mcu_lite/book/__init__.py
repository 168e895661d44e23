"""What only the chapters use."""
