"""Coming into rooms of other servers, leaving them, inviting; and letting others do so here."""
