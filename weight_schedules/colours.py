"""The colours of drawings: ink, fainter ink, paper."""

INK, FAINT, PAPER = (236, 236, 240), (154, 156, 168), (27, 28, 34)
