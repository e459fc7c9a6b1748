"""Draws overlays, panels and charts."""
