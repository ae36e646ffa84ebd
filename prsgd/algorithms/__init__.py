"""The algorithms: one small file each. They import nothing but `base`."""
