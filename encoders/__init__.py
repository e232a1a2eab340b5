"""From a picture to what an adapter reads of it: vision encoders, faces, and the picture work before them."""
