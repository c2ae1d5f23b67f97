"""Many avatars at once: a table of jobs, a pool of workers, a folder of results."""
