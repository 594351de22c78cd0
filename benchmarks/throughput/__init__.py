"""How fast a window is read and profiled, against bare COPY and against other tools."""
