"""The head model: one mesh of the whole head, how it is built, fitted and driven (DESIGN 4)."""
