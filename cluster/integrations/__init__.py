"""One small file per trainer: plain callables, no framework imported."""
