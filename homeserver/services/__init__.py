"""One class per feature, above rooms and below the edges."""
