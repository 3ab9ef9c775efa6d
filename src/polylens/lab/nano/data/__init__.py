"""The batches of nano's training."""
