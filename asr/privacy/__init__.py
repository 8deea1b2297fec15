"""What keeps people private: in the words, in the voice, in who is named; consent, records and erasure."""
