"""How strong a reference acts in which layer, at which step, in which frame. Numbers in, numbers out."""
