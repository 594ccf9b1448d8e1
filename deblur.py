"""The tutorial's restoring script: `python deblur.py --help`."""

from deblurgan.cli import deblur

if __name__ == "__main__":
    deblur()
