"""Steps of the pipeline: a photo joins, people are drawn, heads go back into pictures, a movie is written."""
