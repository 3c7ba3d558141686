"""A stored member computed again, and how far it may be from the stored one."""
