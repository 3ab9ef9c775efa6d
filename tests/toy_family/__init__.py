"""A third family, for `tests/models/test_family.py`: words have vectors, pictures are sixteen squares of one colour."""
