"""Linear, Bézier and polygonal paths, alignment, planes."""
