"""The runtime turns inputs into vectors: here a family's processing meets its model."""
