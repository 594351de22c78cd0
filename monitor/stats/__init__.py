"""Numbers in, numbers out: statistics that know nothing of the rest of the program."""
