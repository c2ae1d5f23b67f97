"""The metrics of the paper, and the networks that look at pictures for them and for losses."""
