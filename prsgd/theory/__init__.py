"""The paper's statements, checked on problems whose constants are known. In float64 NumPy."""
