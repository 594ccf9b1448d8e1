"""The tutorial's dataset script: `python organize_gopro_dataset.py --help`."""

from deblurgan.cli import organize

if __name__ == "__main__":
    organize()
