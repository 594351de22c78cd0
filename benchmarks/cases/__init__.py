"""Case studies: real streams through the public commands, and what an oracle would have done."""
