"""Results that leave or enter: comparison of stores, citations, archives."""
