"""Image prompts for latent diffusion models (IP-Adapter, arXiv:2308.06721): torch in, torch out, no host."""
