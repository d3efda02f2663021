"""Soak test of a running service: everything breaks, and no answer may be lost or wrong."""
