"""How far estimated scores are from true ones (section 6.1 of [Lim2020], and beyond it)."""
