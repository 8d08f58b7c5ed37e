"""A trial on disk: its folder, records, checkpoints and warnings, and what its process needs. No part of it knows what is trained."""
