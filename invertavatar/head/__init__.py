"""The head model: one mesh of the whole head, how it is fitted, posed and dressed (DESIGN 4)."""
