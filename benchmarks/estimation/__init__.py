"""Performance without labels against what labels said."""
