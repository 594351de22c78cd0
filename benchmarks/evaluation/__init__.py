"""How long it takes to judge a window of many features from stored tiles."""
