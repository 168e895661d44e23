"""B models of one architecture as one tensor (B, P)."""
