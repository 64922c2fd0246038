"""Data: the schema brands share, where rows come from, how they are divided, what is catalogued."""
