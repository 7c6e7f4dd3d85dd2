"""Tools on data sets that serve every task."""
