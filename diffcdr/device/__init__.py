"""Where things are computed: device names, the NVIDIA driver, ONNX Runtime on CUDA. Imports errors alone of diffcdr."""
