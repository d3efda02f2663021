"""Demo: packaged chats scored through the actor client on a local cluster."""
