"""What a person wants, by what was heard: the hand-over to a text intent layer, and a reference model of one."""
