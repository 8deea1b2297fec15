"""Who speaks, and what they agreed to: kept apart from the data, on record, and erased on their wish."""
