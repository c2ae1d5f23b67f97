"""The diffusers-style pipeline of InvertAvatar."""
