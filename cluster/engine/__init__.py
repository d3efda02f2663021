"""Scoring engine of one device. Imports and runs without Ray."""
