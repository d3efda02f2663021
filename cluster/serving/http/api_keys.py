"""API keys: read where the service is deployed, carried as salted digests, compared in constant
time.

The process that deploys reads the keys, since its environment and files are the ones that the
operator sees. Only digests reach Ray, in the `user_config` of the Ingress, so that new keys restart
nothing. A key source without a key is a ConfigError and never an open service.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config import HttpConfig
from cluster.errors import ConfigError

VARIABLE = "REWARD_CLUSTER_KEYS"
SETTING = "key_digests"
"""Key of the Ingress's `user_config`: a list of `<salt>:<digest>`, both hexadecimal."""


def load_keys(config: HttpConfig, environment: Mapping[str, str] = os.environ) -> list[bytes]:
    """The keys of the file, or else of the environment; none means that no key is needed.

    Raises ConfigError for a file that cannot be read, and for a file or variable without a key.
    """
    if config.keys_file is not None:
        return _keys_of_file(config.keys_file)
    given = environment.get(VARIABLE)
    if given is None:
        return []
    keys = _keys(given.split(","))
    if not keys:
        raise ConfigError(f"{VARIABLE} is set and holds no key; put a key into it, or unset it")
    return keys


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """A key that can be recognized but not read back."""

    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, key: bytes) -> KeyDigest:
        """With a fresh salt."""
        salt = secrets.token_bytes(16)
        return cls(salt, _digest(salt, key))

    @classmethod
    def parse(cls, text: object) -> KeyDigest:
        """The inverse of `str`. Raises ConfigError."""
        salt, _, digest = text.partition(":") if isinstance(text, str) else ("", "", "")
        try:
            parsed = cls(bytes.fromhex(salt), bytes.fromhex(digest))
        except ValueError:
            parsed = cls(b"", b"")
        if not parsed.salt or len(parsed.digest) != hashlib.sha256().digest_size:
            raise ConfigError(f"a value of Ingress.user_config.{SETTING} is no digest of a key")
        return parsed

    def matches(self, key: bytes) -> bool:
        """Whether `key` is this key, in constant time."""
        return hmac.compare_digest(self.digest, _digest(self.salt, key))

    def __str__(self) -> str:
        return f"{self.salt.hex()}:{self.digest.hex()}"


class KeyRing:
    """The keys that currently open the service; `replace` changes them while it runs."""

    def __init__(self, keys: Iterable[KeyDigest] = ()) -> None:
        self._keys = list(keys)

    @classmethod
    def of(cls, keys: Iterable[bytes]) -> KeyRing:
        """From plain keys, which are not kept."""
        return cls(KeyDigest.of(key) for key in keys)

    @classmethod
    def from_user_config(cls, values: Mapping[str, Any], config: HttpConfig) -> KeyRing:
        """From the digests that the deploying process passed; if it passed none (plain `serve
        run`), from this machine's own file or environment. Raises ConfigError."""
        digests = values.get(SETTING)
        if digests is None:
            return cls.of(load_keys(config))
        if not isinstance(digests, Sequence) or isinstance(digests, str):
            raise ConfigError(f"Ingress.user_config.{SETTING} must be a list")
        return cls(KeyDigest.parse(text) for text in digests)

    def replace(self, other: KeyRing) -> None:
        """Take over the keys of `other`."""
        self._keys = list(other._keys)

    def opens(self, given: bytes) -> bool:
        """Whether `given` is one of the keys, or no key is needed. Always compares with all of
        them."""
        found = not self._keys
        for key in self._keys:
            found |= key.matches(given)
        return found

    def user_config(self) -> dict[str, list[str]]:
        """For the Ingress, see `from_user_config`."""
        return {SETTING: [str(key) for key in self._keys]}

    def __len__(self) -> int:
        return len(self._keys)

    def __str__(self) -> str:
        n = len(self)
        return "open, no keys" if n == 0 else f"{n} key{'s' if n > 1 else ''}"


def _keys_of_file(path: str) -> list[bytes]:
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"http.keys_file {path!r} cannot be read: {error}") from None
    keys = _keys(lines)
    if not keys:
        raise ConfigError(f"http.keys_file {path!r} holds no key; put one per line")
    return keys


def _keys(texts: Iterable[str]) -> list[bytes]:
    return [text.strip().encode() for text in texts if text.strip()]


def _digest(salt: bytes, key: bytes) -> bytes:
    return hmac.new(salt, key, hashlib.sha256).digest()
