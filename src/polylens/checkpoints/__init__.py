"""From a model's name to its files, from the files to a model, and back. Nothing here names a family."""
