"""The tabs of the page, a module each: its handlers as plain functions, each an endpoint, then what is laid out.

A handler that takes long is a generator: it stops where it stands when its visitor cancels or leaves, and takes its
files along.
"""
