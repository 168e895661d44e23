"""A method is two losses."""
