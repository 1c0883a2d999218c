"""Where things are computed: device names, the NVIDIA driver, ONNX Runtime on CUDA. Imports nothing of diffcdr but errors and arrays."""
