"""The tables of a trial: their schemas, and how they are written whole and read again."""
