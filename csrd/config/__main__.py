"""`python -m csrd.config` writes the JSON schema of the configuration."""

from csrd.config import SCHEMA, schema

SCHEMA.write_text(schema())
