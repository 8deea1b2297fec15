"""The event in the form that each receiver takes: a message for its API, or what a library of its kind recognises."""
