"""The UV map, the head's surface and the photos on it, the volume renderer, framing and backgrounds."""
