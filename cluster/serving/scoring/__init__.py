"""Conversations to rewards, shared by the client actor and the HTTP ingress."""
