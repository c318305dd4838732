"""Read models: the journal as PostgreSQL rows, and the HTTP API that reads them."""
