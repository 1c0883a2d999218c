"""Figures of training in TensorBoard or MLflow."""
