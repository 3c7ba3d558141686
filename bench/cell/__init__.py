"""From a configuration, or the spec of a stored member, to a cell: its members and their identities."""
