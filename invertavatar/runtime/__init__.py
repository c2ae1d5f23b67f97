"""On what it runs, and how: devices, half precision, work done ahead, a GPU's recorded graphs."""
