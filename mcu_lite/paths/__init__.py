"""A curve is a product."""
