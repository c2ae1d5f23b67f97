"""Rasterization, the UV map, the head's surface and the photos on it, and the volume renderer."""
