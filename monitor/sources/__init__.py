"""The sources of logged rows, one file each."""
