"""The comparisons that the published papers make, made with small models: claims, figures, one report."""
