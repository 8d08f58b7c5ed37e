"""Maximum-entropy laws under constraints (section 6.4 of [Lim2020], and laws with other closed forms)."""
