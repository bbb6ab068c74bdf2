"""The `kitchenlog` command."""
