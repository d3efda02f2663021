"""Learning from every token of a reply, before preferences give one bit a pair."""
