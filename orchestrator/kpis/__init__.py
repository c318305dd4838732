"""Role `kpis`: live figures and alerts over `history`. Nothing else depends on it."""
