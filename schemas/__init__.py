"""The wire: CloudEvents codec, topic catalogue, inbox and journal records, JSON Schemas, golden samples."""
