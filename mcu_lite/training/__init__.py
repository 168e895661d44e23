"""One loop descends."""
