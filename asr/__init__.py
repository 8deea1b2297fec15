"""Speech recognition that learns dialects from annotated voice fragments."""
