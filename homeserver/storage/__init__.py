"""Plain SQL: one module per group of tables, the transaction first."""
