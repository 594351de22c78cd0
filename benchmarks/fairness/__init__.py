"""Groups of people on real data: published rates, and what noise comes to."""
