"""The names by which the parts of one service find each other."""

from __future__ import annotations

APP = "reward"
"""Default Serve application."""
BATCHER = "Batcher"
REPLICA = "Replica"
NAMESPACE = "reward-cluster"
"""Ray namespace of the client actors, the same from every job."""
