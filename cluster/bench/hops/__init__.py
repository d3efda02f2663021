"""Latency of an HTTP request to an idle service, hop by hop."""
