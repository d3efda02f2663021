"""Generated preferences and a small policy to try recipes with."""
