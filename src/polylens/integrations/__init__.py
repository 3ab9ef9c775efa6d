"""polylens inside other people's frameworks: a module each, importable where that framework is."""
