"""Rows beside packs: traces, spans and effects as one Parquet object a pack, derived and rebuilt at will (docs/query.md)."""
