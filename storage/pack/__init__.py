"""Packs: many traces in one immutable object, written and read as bytes alone (docs/pack.md)."""
