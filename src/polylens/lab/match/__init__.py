"""How a model's measure of match comes about: held-out material, curves fitted to it, and a report on how well they
keep their word."""
