"""The resource check on labelled series of cloud machines."""
