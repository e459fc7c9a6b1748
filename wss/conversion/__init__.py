"""Builds data sets: reads what a download unpacks to and writes checked records."""
