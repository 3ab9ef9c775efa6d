"""The laboratory: the training of nano, and the claims of the papers. Only the command line imports it."""
