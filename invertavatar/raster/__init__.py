"""Triangles to pixels, by each backend; it knows nothing of heads."""
