"""What speakers are owed: consent, pseudonyms, masked words, changed voices, a record of every use, erasure."""
