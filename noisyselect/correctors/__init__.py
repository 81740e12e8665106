"""One published method per file, each a label corrector."""
