"""visiontasks: computer-vision task pipelines on one shared CNN backbone."""

__version__ = "0.1.0"
