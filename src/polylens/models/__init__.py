"""One folder a model family; families never import each other."""
