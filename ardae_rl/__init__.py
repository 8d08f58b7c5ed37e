"""Score and entropy gradients of samplers that have no density, and what they are good for.

``ardae_rl.score`` learns the gradient of log p from samples alone (AR-DAE, [Lim2020] arXiv:2006.05164), ``ardae_rl.samplers`` holds the
samplers it is learnt for, ``ardae_rl.sac`` is soft actor-critic for any of them, and ``ardae_rl.rllib`` runs that on Ray. The first three
need nothing but torch and numpy, so importing this package imports none of them.
"""

__version__ = "0.1.0"
