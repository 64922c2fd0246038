"""Cross-brand benchmark experiments: Hydra configs in, comparable results out."""
