"""The files in the model folders, what they are by their headers, and which presets run. No file is changed."""
