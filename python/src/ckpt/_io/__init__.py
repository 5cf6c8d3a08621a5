"""Where the doors differ: connections, locks, sleeping; each module has the same names."""
