"""`python -m deblurgan`: the command line."""

from deblurgan.cli import main

if __name__ == "__main__":
    main(prog_name="deblurgan")
