"""The commands, one file for each group; ``add_to(app)`` enters them."""
