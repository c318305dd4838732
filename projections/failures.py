"""What PostgreSQL and its client say when something fails, as a person reads it."""


def why(error: Exception) -> str:
    """In one line: libpq's own sentences have several; the failure's type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
