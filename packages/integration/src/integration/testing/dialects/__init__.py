"""The venues whose dialect the simulator speaks, one module each."""
