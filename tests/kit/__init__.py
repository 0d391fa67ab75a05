"""Writes faithful miniature copies of collections, as downloaded. Reads none."""
