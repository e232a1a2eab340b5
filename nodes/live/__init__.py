"""Drawings of nodes while they are edited: the page describes a node and gets a picture of the node's output."""
