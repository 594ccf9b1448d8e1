"""Other engines than TensorFlow: converting networks for them, running them there."""

ENGINES = ("tensorflow", "openvino", "onnxruntime")  # the others only restore
AUTO = "auto"  # the fastest of the engines that are there; see `engines.fastest`
