"""The commands doctor, fetch and host of atelier.py, which need no running ComfyUI. ComfyUI never imports them."""
