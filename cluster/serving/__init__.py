"""The service on Ray Serve: client, ingress, batcher, replicas."""
