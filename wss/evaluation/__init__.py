"""Streaming metrics, the evaluator, tables and pictures."""
