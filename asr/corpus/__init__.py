"""Corpora of fragments: checking, splitting and counting them."""
