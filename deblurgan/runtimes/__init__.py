"""Other engines than TensorFlow: converting networks for them, running them there."""
