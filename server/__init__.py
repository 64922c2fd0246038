"""The coordinator's side: what asks brands, adds their updates and keeps the model."""
