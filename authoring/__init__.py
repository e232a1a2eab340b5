"""What makes the shipped content: workflows, blueprints, help pages, translations, tables and the guides' pictures.

Each file says at its top what it writes and how to run it; the commands need COMFYUI_PATH and PYTHONPATH=tests, because
the servers and pages that draw are those of the tests (tests/harness).
"""
