"""What image prompts cost: python atelier.py bench."""
