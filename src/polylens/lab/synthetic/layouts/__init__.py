"""Kinds of pages, one a module. A layout is a function of a random generator, a language and a split."""
