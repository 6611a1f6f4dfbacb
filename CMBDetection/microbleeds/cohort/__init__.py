"""Many scans: found, processed in one process or on a cluster, taken up again after a stop, and told as a group."""
