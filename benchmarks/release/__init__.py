"""How often a candidate is promoted or rolled back wrongly, when one looks again and again."""
