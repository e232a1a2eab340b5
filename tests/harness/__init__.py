"""Run graphs in a real ComfyUI server, and look at them in a real browser."""
