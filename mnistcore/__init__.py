"""Handwritten-digit classifiers written from scratch in NumPy.

This file imports nothing, so that a stage depends on the modules it names and no other.
"""
