"""Bytes on disk: records, digests, the log, and what is read back. Knows no graph and no callable."""
