"""Rows in files, before any model: readers, formats, validation, writers."""
