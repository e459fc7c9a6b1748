"""The file formats of exports, one module each."""
