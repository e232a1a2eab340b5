"""From files to objects: adapters, encoders, face packs, presets, the demo's models."""
