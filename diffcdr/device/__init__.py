"""Where things are computed: device names, the driver, ONNX Runtime on CUDA. Imports errors and arrays alone."""
