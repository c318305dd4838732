"""The wire: CloudEvents codec, topic catalogue, inbox and journal records, schemas, samples."""
