"""What runs inside a serving process; shares only the log tables with the daemon."""
