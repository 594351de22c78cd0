"""How often advice to retrain or recalibrate is right, and how often it is missing."""
