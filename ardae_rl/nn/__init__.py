"""What all networks are made of, and settings that check themselves. Plain torch; imports nothing else of the package."""
