"""Code written for Keras 1 or 2, the tutorial's above all, runs on Keras 3 as it stands.

    python -m deblurgan.compat their_script.py [arguments]

runs a script so; `install()` does it for the program that calls it. Importing this package changes nothing.

Each old name gives an `OldKerasWarning` that tells the modern one, once. What cannot be made to work raises
`OldKerasError`, which says what to write instead. `names` lists what is known; the document "Coming from the 2018
tutorial" tells what differs. Needs the TensorFlow backend.
"""

from collections.abc import Callable

from deblurgan.compat.notices import OldKerasError, OldKerasWarning

__all__ = ["OldKerasError", "OldKerasWarning", "install", "uninstall"]

_undo: list[Callable[[], None]] = []  # what puts the parts of Keras back


def install() -> None:
    """Change Keras so that old code runs. Does nothing when that was done already.

    Examples:
        >>> import deblurgan.compat
        >>> deblurgan.compat.install()
        >>> from keras.layers.convolutional import Conv2D  # keras.layers in Keras 3
        >>> deblurgan.compat.uninstall()
    """
    if _undo:
        return
    from deblurgan.compat import absent, arguments, imports, training, vgg16
    from deblurgan.compat.patches import Patches

    patches = Patches()
    for part in (arguments, training, vgg16, absent):
        part.install(patches)
    finder = imports.install(patches)
    _undo.extend([lambda: imports.uninstall(finder), patches.undo])


def uninstall() -> None:
    """Put everything back as it was before `install`, and forget which warnings were given.

    Examples:
        >>> import deblurgan.compat
        >>> deblurgan.compat.install()
        >>> deblurgan.compat.uninstall()
        >>> from keras.layers.convolutional import Conv2D
        Traceback (most recent call last):
        ModuleNotFoundError: No module named 'keras.layers.convolutional'
    """
    from deblurgan.compat.notices import forget

    while _undo:
        _undo.pop()()
    forget()
