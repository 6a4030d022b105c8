"""Runs a whole platform on one machine: starts its parts in order, keeps them alive, stops them in reverse."""
