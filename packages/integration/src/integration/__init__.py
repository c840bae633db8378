"""Signs, parses and transforms: exchanges behind one typed interface."""
