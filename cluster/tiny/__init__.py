"""The recipe of the built-in reward model `tiny`: its preferences, its tokenizer, its training."""
