"""The engines: one a file, each importing its library at its own top. Only the registry imports them, by name."""
