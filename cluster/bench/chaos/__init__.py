"""A soak of a running service: everything breaks, nothing may be lost or wrong."""
