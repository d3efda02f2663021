"""Ports for programs that must be told theirs before they bind it."""

from __future__ import annotations

import random
import socket

CHOICE = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections and to servers that ask for any (32768 and
up), above those of Ray's workers (10002 to 19999): nobody is given such a port by chance between
our look at it and the program's bind."""


def free_port() -> int:
    """On loopback; nobody listens there."""
    for port in random.Random().sample(CHOICE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a hundred ports and none is free")
