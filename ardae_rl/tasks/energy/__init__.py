"""Samplers fitted to an energy: sections 6.1 and E of [Lim2020], and beyond it in more dimensions."""
