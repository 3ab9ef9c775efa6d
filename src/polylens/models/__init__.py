"""The model families: one folder per family. Families never import each other."""
