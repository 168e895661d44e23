"""The training loop, AdamW and Sophia."""
