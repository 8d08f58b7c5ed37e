"""MNIST on disk."""
from ardae_rl.tasks.vae.config import VAESettings
def load_mnist(folder): raise NotImplementedError
def load_static(folder): raise NotImplementedError
