"""Real dialogues with plainly damaged replies, from which `tiny` learns what English chats are."""
