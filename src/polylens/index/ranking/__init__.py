"""What ranks pages: dense vectors, full text, late interaction, and their fusion; filters narrow them. No torch."""
