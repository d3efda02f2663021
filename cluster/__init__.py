"""reward-cluster: a distributed reward service on Ray Serve.

Importing `cluster` loads neither torch nor ray; each room imports what it needs.
"""

from cluster.errors import RewardError
from cluster.types import Encoding, Message, Score

__all__ = ["Encoding", "Message", "RewardError", "Score"]
__version__ = "0.1.0"
