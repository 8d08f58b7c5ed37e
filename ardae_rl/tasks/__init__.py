"""The paper's experiments beyond control, each a plain-torch task; ``trainable.py`` alone knows Ray."""
