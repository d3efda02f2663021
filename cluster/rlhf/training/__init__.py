"""Bradley-Terry training of a reward model: pairs in, a checkpoint that every path loads out."""
