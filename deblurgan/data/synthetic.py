"""What pairs that are made can be; read by the command line without loading NumPy."""

EXTENSIONS = (".png", ".jpg")
SIDES = ("left", "right")  # of a file with two pictures: which one is the input
KERNELS = ("paper", "linear", "both")  # see `blur.random_kernel`
LENGTH = 60.0  # pixels, of the trajectories
