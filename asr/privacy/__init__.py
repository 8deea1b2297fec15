"""What protects the people whose voices these are: pseudonyms, consent, the record of every use, erasure."""
