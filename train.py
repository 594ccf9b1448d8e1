"""The tutorial's training script: `python train.py --help`."""

from deblurgan.cli import train

if __name__ == "__main__":
    train()
