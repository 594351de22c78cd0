"""The demo: a real model on the flights of New York in 2013, replayed as production through the code that users run."""
