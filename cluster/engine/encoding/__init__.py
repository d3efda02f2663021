"""Chats to token ids: templates, tokenizers, fingerprints."""
