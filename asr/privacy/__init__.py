"""What speakers are owed: consent for every use, and a record of each."""
