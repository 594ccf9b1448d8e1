"""What synthetic pairs can be; read by the command line without loading NumPy."""

EXTENSIONS = (".png", ".jpg")
KERNELS = ("paper", "linear", "both")  # see `blur.random_kernel`
LENGTH = 60.0  # pixels, of the trajectories
