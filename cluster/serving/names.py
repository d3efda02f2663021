"""Names by which the parts of one service find each other."""

from __future__ import annotations

APP = "reward"
"""Default Serve application."""
REPLICA = "Replica"
BATCHER = "Batcher"
INGRESS = "Ingress"
DEPLOYMENTS = (REPLICA, BATCHER, INGRESS)
DRAINING = "draining"
"""Key of the Ingress's `user_config`: whether it refuses new requests."""
NAMESPACE = "reward-cluster"
"""Ray namespace of the client actors, the same from every job."""
