"""The machine: devices, threads and memory of the host, distribution strategy."""
