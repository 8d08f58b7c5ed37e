"""Variational autoencoders whose posterior may be implicit: section 6.2 of the AR-DAE paper."""
