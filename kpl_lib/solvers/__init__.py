"""The arithmetic under the method: descent, ridge regression, scaling, temperature.

Tensors in, tensors out. May import: features, common.
"""
