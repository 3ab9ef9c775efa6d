"""What a step of nano's training sees."""
