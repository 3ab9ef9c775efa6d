"""What training from random weights needs of each model family."""
