"""Signal quality: false alarms against the budget, delay, and whether the stated minimum detectable shift is found."""
