"""From an avatar to a rigged mesh in one texture, its files, and the renderer that draws it without a network."""
