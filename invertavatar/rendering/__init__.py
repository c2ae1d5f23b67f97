"""Rasterization, the UV map and the volume renderer."""
