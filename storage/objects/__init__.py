"""Where immutable objects lie: a folder, S3, memory. One contract (`storage.objects.contract`), one conformance suite."""
