"""Layouts of pages, one module per kind. A layout is a function of a random generator, a language and a split."""
