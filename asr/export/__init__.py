"""A checkpoint as the model of another runtime, heard there again before it counts."""
