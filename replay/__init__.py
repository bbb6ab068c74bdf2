"""Taking a recording apart: matching, minimal work, the plan, the certificate, the difference."""
