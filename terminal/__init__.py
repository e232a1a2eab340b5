"""What can be asked without a running ComfyUI: python atelier.py doctor | fetch. ComfyUI never imports it."""
