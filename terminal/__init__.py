"""Doctor and download without a running ComfyUI: python atelier.py doctor | fetch. ComfyUI never imports it."""
