"""What `tools/benchmark.py` measures: each module has its cases and builds their workloads."""
