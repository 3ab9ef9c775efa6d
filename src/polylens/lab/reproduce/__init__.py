"""The comparisons of the published papers, repeated with small models: claims, figures, one report."""
