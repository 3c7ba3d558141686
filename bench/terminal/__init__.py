"""What a command says: tables, progress, errors of the operating system in words."""
