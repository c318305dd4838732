"""Export: history as Parquet files that any tool reads, and views over them. Needs `analytics`."""
