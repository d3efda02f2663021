"""The Ray actor client and how to connect to it."""
