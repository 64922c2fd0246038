"""What is learned: one file = schema, model, per-example loss, statistics."""
