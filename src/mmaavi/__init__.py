"""mmAAVI: mosaic integration of single-cell data (Rong et al. 2024, Briefings in Bioinformatics, bbae540)."""

__version__ = "0.1.0"
