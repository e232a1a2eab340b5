"""Drawings of nodes while they are edited: the page describes a node, and gets the picture of what it makes."""
