"""The text side alone: a causal decoder learns the vectors of the teacher, to see what size and hours bring."""
