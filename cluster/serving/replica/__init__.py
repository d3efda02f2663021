"""The replica deployment: weights on a device."""
