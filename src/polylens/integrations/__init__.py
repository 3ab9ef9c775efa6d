"""polylens inside other frameworks: one module per framework, importable where that framework is installed."""
