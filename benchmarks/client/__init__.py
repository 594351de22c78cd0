"""What the client costs a service, while the database answers, while it is away, and how fast a circuit is known."""
