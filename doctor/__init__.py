"""Report which model files are installed, by their headers, and which presets would run. No file is changed."""
