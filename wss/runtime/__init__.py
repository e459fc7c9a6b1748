"""The machine: devices, threads, memory, precision and distribution strategy."""
