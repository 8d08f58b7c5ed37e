"""From a YAML file to trials on Ray Tune: loading and checking, launching, watching, summing up.

Ray is imported only once something is about to run (:mod:`.launch`, :mod:`.watch`), so that a mistake in a file is reported at once.
"""
